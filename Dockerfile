# syntax=docker/dockerfile:1
# docker build --tag registry.example.org/scopewright .            operator and issuer
# docker build --tag registry.example.org/hr --target hr .         the services and the web application of examples/hr
#
# image/build.py defines the content of each image; tests/node runs it too. For repeatable builds, pin BUILDER to a digest
# and set SOURCES to a sources file below image/ (as in /etc/apt) that names a dated snapshot of Debian.
ARG BUILDER=docker.io/library/debian:12.11-slim

FROM ${BUILDER} AS builder
RUN apt-get update \
 && apt-get install --yes --no-install-recommends mmdebstrap python3 python3-venv \
 && python3 -m venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /src

FROM builder AS base-root
ARG SOURCES=/etc/apt/sources.list.d/debian.sources
COPY requirements requirements
COPY image image
RUN python3 image/build.py base /root-of-image --sources "${SOURCES}"

FROM builder AS wheel-root
COPY requirements requirements
COPY pyproject.toml README.md LICENSE ./
RUN pip install --quiet --require-hashes --only-binary=:all: --requirement requirements/build.txt
COPY operator operator
COPY image image
RUN python3 image/build.py package /dist && python3 image/build.py wheel /root-of-image /dist/*.whl

FROM builder AS hr-root
COPY requirements requirements
COPY image image
COPY examples/hr examples/hr
RUN python3 image/build.py hr /root-of-image

FROM scratch AS scopewright
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="scopewright" \
      org.opencontainers.image.description="OAuth clients as Kubernetes resources: the operator and the token issuer" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=base-root /root-of-image /
COPY --from=wheel-root /root-of-image /
ENV PATH=/usr/local/bin:/usr/bin
USER 65532:65532
ENTRYPOINT ["scopewright"]

FROM scopewright AS hr
COPY --from=hr-root /root-of-image /
ENTRYPOINT []

# The last stage is the default target.
FROM scopewright
