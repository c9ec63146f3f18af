"""Django with its database in /tmp: migrations, a request through the whole stack, a password, a template."""

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="not secret", USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/tmp/site.db"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.template import Context, Template  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402

call_command("migrate", verbosity=0)


def greet(request):
    user = User.objects.create_user(f"user{User.objects.count()}", password="pass")
    text = Template("Hello {{ name }}, {{ right }}").render(Context({"name": user.username, "right": user.check_password("pass")}))
    return HttpResponse(text)


urlpatterns = [path("greet", greet)]


def handler(event, context):
    answer = Client().get("/greet")
    return {"status": answer.status_code, "text": answer.content.decode(), "users": User.objects.count()}
