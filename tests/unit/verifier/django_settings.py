"""Settings for Django, which a process configures once. A test overrides what it needs (`override_settings`)."""

import django
from django.conf import settings


def configure_django() -> None:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50, LOGGING_CONFIG=None)
        django.setup()
