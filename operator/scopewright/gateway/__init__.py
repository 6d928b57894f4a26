"""The gateway: answers for a proxy whether a request may pass, by the rules of the API that it is for."""
