"""Credentials drawn at random and set into lines of code, so that tests know what must be replaced.

Nothing here was ever valid: each value comes from a seeded generator in the shape that its issuer documents.
"""

import base64
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
LETTERS_DIGITS = LOWER + UPPER + DIGITS
HEX = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Planted:
    """A secret in a few lines of code."""

    kind: str  # as redaction counts it
    tag: str
    secret: str
    text: str  # the secret stands in it once


# Where a key stands: Python, TypeScript, Java, C++, C#, Rust, PHP, Swift, shell, YAML, JSON, .env, a header.
KEY_LINES = (
    'client = connect(region, {name}="{secret}")',
    "const {name} = '{secret}';",
    '    private static final String {NAME} = "{secret}";',
    'static const char* {name} = "{secret}";',
    '        public string {Name} {{ get; set; }} = "{secret}";',
    'let {name}: &str = "{secret}";',
    "    '{name}' => '{secret}',",
    'let {name}: String = "{secret}"',
    "export {NAME}={secret}",
    "  {name}: {secret}",
    '  "{name}": "{secret}",',
    "{NAME}={secret}",
    'headers = {{"Authorization": "Bearer {secret}", "Accept": "*/*"}}',
    "// old {name} was {secret}, rotate it",
    "    curl -H 'X-Auth: {secret}' https://api.service.io/v1/items",
    'if ({name} == "{secret}") {{ return true; }}',
    '{name} = os.environ.get("{NAME}", "{secret}")',
    'printf("{name}:\\n{secret}\\n");',
)
ASSIGNED_LINES = tuple(
    line for line in KEY_LINES if "{name}" in line.lower() and not line.startswith(("//", "printf"))
)


class Draw:
    """Draws the secrets of one seed."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def of(self, letters: str, length: int) -> str:
        return "".join(self._draw.choices(letters, k=length))

    def one(self, *options: str) -> str:
        return self._draw.choice(options)

    def in_line(self, secret: str, names: tuple[str, ...], lines: tuple[str, ...] = KEY_LINES) -> str:
        name = self.one(*names)
        words = {"name": name, "NAME": name.upper(), "Name": name.title().replace("_", ""), "secret": secret}
        before, after = "def main():\n    total = 0\n", "\n    return total\n"
        return before + self.one(*lines).format(**words) + after

    def bytes(self, length: int) -> bytes:
        return self._draw.randbytes(length)


def aws_access_key(draw: Draw) -> Planted:
    secret = draw.one("AKIA", "ASIA") + draw.of(UPPER + "234567", 16)
    text = draw.in_line(secret, ("aws_access_key_id", "access_key", "key_id"))
    return Planted("aws_access_key", "<KEY>", secret, text)


def aws_secret_key(draw: Draw) -> Planted:
    secret = draw.of(LETTERS_DIGITS + "+/", 40)
    text = draw.in_line(secret, ("aws_secret_access_key", "aws_secret_key"), ASSIGNED_LINES)
    return Planted("aws_secret_key", "<KEY>", secret, text)


def github_token(draw: Draw) -> Planted:
    secret = draw.one("ghp_", "gho_", "ghu_", "ghs_", "ghr_") + draw.of(LETTERS_DIGITS, 36)
    if draw.one("classic", "fine") == "fine":
        secret = f"github_pat_{draw.of(LETTERS_DIGITS, 22)}_{draw.of(LETTERS_DIGITS, 59)}"
    return Planted("github_token", "<KEY>", secret, draw.in_line(secret, ("github_token", "gh", "auth")))


def slack(draw: Draw) -> Planted:
    if draw.one("token", "hook") == "token":
        secret = f"xoxb-{draw.of(DIGITS, 12)}-{draw.of(DIGITS, 12)}-{draw.of(LETTERS_DIGITS, 24)}"
        return Planted("slack_token", "<KEY>", secret, draw.in_line(secret, ("slack_token", "bot")))
    secret = f"T{draw.of(UPPER + DIGITS, 8)}/B{draw.of(UPPER + DIGITS, 8)}/{draw.of(LETTERS_DIGITS, 24)}"
    url = f"https://hooks.slack.com/services/{secret}"
    text = draw.in_line(url, ("notify_url", "slack_hook"))
    return Planted("slack_webhook", "<KEY>", secret, text)


def stripe_key(draw: Draw) -> Planted:
    secret = draw.one("sk_live_", "rk_live_", "sk_test_") + draw.of(LETTERS_DIGITS, 24)
    return Planted("stripe_key", "<KEY>", secret, draw.in_line(secret, ("stripe_key", "payment", "billing")))


def model_key(draw: Draw) -> Planted:
    """OpenAI and Anthropic."""
    alphabet = LETTERS_DIGITS + "-_"
    secret = (
        draw.one("sk-", "sk-proj-", "sk-ant-api03-")
        + draw.of(LETTERS_DIGITS, 40)
        + draw.of(alphabet, 8)
        + "A"
    )
    return Planted("openai_key", "<KEY>", secret, draw.in_line(secret, ("openai_key", "llm", "model_token")))


def huggingface_token(draw: Draw) -> Planted:
    secret = "hf_" + draw.of(LETTERS_DIGITS, 34)
    return Planted("huggingface_token", "<KEY>", secret, draw.in_line(secret, ("hf_token", "hub", "login")))


def jwt(draw: Draw) -> Planted:
    claims = json.dumps({"sub": draw.of(DIGITS, 10), "iat": int(draw.of("123456789", 9))}).encode()
    parts = [b'{"alg":"HS256","typ":"JWT"}', claims, draw.bytes(32)]
    secret = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return Planted("jwt", "<KEY>", secret, draw.in_line(secret, ("session_token", "jwt", "bearer")))


def private_key(draw: Draw) -> Planted:
    body = base64.b64encode(draw.bytes(int(draw.one("118", "609", "1190")))).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    name = draw.one("", "RSA ", "EC ", "OPENSSH ")
    whole = [f"-----BEGIN {name}PRIVATE KEY-----", *lines, f"-----END {name}PRIVATE KEY-----"]
    if draw.one("block", "json") == "json":
        secret = "\\n".join(whole)
        text = f'{{\n  "type": "service_account",\n  "private_key": "{secret}\\n",\n  "client": 7\n}}\n'
        return Planted("gcp_service_account", "<KEY>", secret, text)
    secret = "\n".join(whole)
    return Planted("private_key", "<KEY>", secret, f'KEY = """{secret}\n"""\n\ndef load():\n    return KEY\n')


def url_password(draw: Draw) -> Planted:
    secret = draw.of(LETTERS_DIGITS + "-_.!", int(draw.one("9", "12", "20")))
    scheme = draw.one("postgres", "mysql", "amqp", "redis", "https", "mongodb+srv")
    url = f"{scheme}://service:{secret}@db.internal.net:5432/main"
    return Planted("url_password", "<PASSWORD>", secret, draw.in_line(url, ("database_url", "dsn", "broker")))


def password(draw: Draw) -> Planted:
    secret = (
        draw.of(LOWER, 4) + draw.of(UPPER, 3) + draw.of(DIGITS, 3) + draw.of("!@#^*+", 2) + draw.of(LOWER, 2)
    )
    text = draw.in_line(secret, ("password", "db_password", "smtp_passwd", "admin_pwd"), ASSIGNED_LINES)
    return Planted("password", "<PASSWORD>", secret, text)


TEN_KINDS: dict[str, tuple[Callable[[Draw], Planted], ...]] = {
    "AWS access key and secret": (aws_access_key, aws_secret_key),
    "GitHub token": (github_token,),
    "Slack token and webhook": (slack,),
    "Stripe key": (stripe_key,),
    "OpenAI or Anthropic key": (model_key,),
    "Hugging Face token": (huggingface_token,),
    "JSON web token": (jwt,),
    "private key": (private_key,),
    "password in a URL": (url_password,),
    "assigned password": (password,),
}


def planted(kind: str, number: int, seed: int = 976) -> list[Planted]:
    """Draw so many credentials of one of the ten kinds; a kind of two parts takes turns."""
    draw, makers = Draw(seed), TEN_KINDS[kind]
    return [makers[n % len(makers)](draw) for n in range(number)]
