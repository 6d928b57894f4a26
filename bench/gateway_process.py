"""`python -m bench.gateway_process SECONDS gateway …`: the gateway with another limit for fetches of the issuer's keys.

SECONDS is the shortest time between two fetches, 30 in production. The other arguments are those of `scopewright`.
"""

import sys

from scopewright.cli import main
from scopewright.verifier import discovery

if __name__ == "__main__":
    discovery.MAX_AGE_BOUNDS_SECONDS = (float(sys.argv.pop(1)), discovery.MAX_AGE_BOUNDS_SECONDS[1])
    main()
