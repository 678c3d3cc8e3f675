"""The rules that find secrets in source code, for curation/redaction.py; the surest come first.

A rule reads the text as bytes, one a character, and the same in lower case, and gives spans. Shapes are
written from each issuer's public documentation. Every repetition is bounded or cannot be entered twice over
the same characters, so that no input makes the time grow with its square.
"""

import base64
import binascii
import re
from collections.abc import Iterator

from curation.randomness import MADE_UP, entropy, is_hex_key, is_made_up, oddness

Span = tuple[int, int, str]  # first character, the one after the last, kind

# --- Private keys ------------------------------------------------------------------------------------

KEY_BEGIN = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
KEY_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}-----")
KEY_BODY = re.compile(rb"[A-Za-z0-9+/=\s\"'\\,.;:>|#*()_-]*+")
KEY_LINE = re.compile(rb"(?:\\[nr]|[\s\"'+>|#*,])*+[A-Za-z0-9+/=]{16,}+(?:\\[nr]|[\s\"'+,;)\\])*+")
LONGEST_KEY = 20_000  # characters; an RSA key of 16,384 bits has 12,800


def private_keys(data: bytes, lower: bytes) -> Iterator[Span]:
    """Give each block from BEGIN to END; of a block that is cut off, its lines as far as they go."""
    done, next_end = 0, -1
    for begin in KEY_BEGIN.finditer(data):
        if begin.start() < done:
            continue
        if next_end != len(data) and next_end < begin.end():
            next_end = data.find(b"-----END ", begin.end())
            next_end = len(data) if next_end < 0 else next_end
        ending = KEY_END.match(data, next_end) if next_end - begin.end() <= LONGEST_KEY else None
        if ending and KEY_BODY.fullmatch(data, begin.end(), next_end):
            body, done = data[begin.end() : next_end], ending.end()
        else:
            done = _end_of_lines(data, begin.end())
            body = data[begin.end() : done]
        if (len(body) >= 40 and not MADE_UP.search(body)) or len(body) >= 400:
            before = data[max(0, begin.start() - 30) : begin.start()]
            yield begin.start(), done, "gcp_service_account" if b'"private_key"' in before else "private_key"


def _end_of_lines(data: bytes, at: int) -> int:
    """Say where lines of base64 that begin here end."""
    limit = min(len(data), at + LONGEST_KEY)
    while at < limit and (line := KEY_LINE.match(data, at, limit)):
        at = line.end()
    while data[at - 1 : at].isspace():
        at -= 1
    return at


# --- Documented shapes, and strings that no person would write -----------------------------------------

# Each from its issuer's public documentation, in the order: how it begins, then what follows.
SHAPES = {
    "aws_access_key": (rb"A(?:KIA|SIA|BIA|CCA)", rb"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    "github_token": (rb"gh[pousr]_|github_pat_", rb"[A-Za-z0-9_]{30,255}"),
    "gitlab_token": (
        rb"gl(?:pat|ptt|rt|dt|cbt|soat|ft|imt|agent|oas|ffct)-",
        rb"[A-Za-z0-9_-]{20,}(?:\.[\w-]{2,12})*",
    ),
    "slack_token": (rb"xox[abeoprs]-|xapp-|xoxe\.xox[bp]-", rb"[A-Za-z0-9-]{18,400}"),
    "google_api_key": (rb"AIza", rb"[A-Za-z0-9_-]{35}"),
    "google_oauth": (rb"ya29\.|GOCSPX-", rb"[A-Za-z0-9_-]{20,}"),
    "stripe_key": (rb"[sr]k_(?:live|test)_|whsec_", rb"[A-Za-z0-9+/=]{16,300}"),
    "openai_key": (rb"sk-", rb"[A-Za-z0-9_-]{20,300}"),  # and Anthropic's, sk-ant-...
    "huggingface_token": (rb"hf_|api_org_", rb"[A-Za-z0-9]{30,60}(?![A-Za-z0-9])"),
    "npm_token": (rb"npm_", rb"[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    "pypi_token": (rb"pypi-", rb"[A-Za-z0-9_-]{32,400}"),
    "sendgrid_key": (rb"SG\.", rb"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    "twilio_key": (rb"SK|AC", rb"[0-9a-f]{32}(?![A-Za-z0-9])"),
    "jwt": (rb"eyJ", rb"[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+){0,3}"),
}  # fmt: skip
SHAPE = re.compile(
    b"|".join(b"(?P<%s>(?:%s)%s)" % (kind.encode(), begin, rest) for kind, (begin, rest) in SHAPES.items())
)
DOTTED = (b"SG.", b"ya29.", b"xoxe.")
NEEDS_CHANCE = ("openai_key",)  # a style sheet may name a class sk-fading-circle-container

RUN_LENGTH = 20  # the shortest of all the shapes, and the shortest string that chance alone gives away
RUN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
RUN_CLASSES = bytes(ord("a") if byte in RUN_BYTES else ord(" ") for byte in range(256))
RUN = b"a" * RUN_LENGTH
WORDS_ONLY = re.compile(rb"[a-z_-]+|[A-Z_]+_[A-Z_]*|[0-9_-]+")  # an access key of AWS may be all capitals
LEFT_BYTES, RIGHT_BYTES = RUN_BYTES + b"+/.~", RUN_BYTES + b"+/.~="

LONGEST_TOKEN = 200  # characters; what is longer is data
LEAST_ODD = (
    0.5  # of 1,862 names and strings with a digit in the standard library 238 reach it, all encoded data
)
PREFIXED_HEX = re.compile(
    rb"[A-Za-z][A-Za-z0-9]{1,11}[_-](?:[A-Za-z0-9]{1,8}[_-]|[0-9a-f]{16,64}-)?(?P<hex>[0-9a-f]{32,128}|[0-9A-F]{32,128})"
    rb"|[a-z]{2,8}(?P<glued>[0-9a-f]{32,64})"
)
# What stands before a hash, an identifier or data rather than a secret.
NO_SECRET_BEFORE = re.compile(
    rb"(?i:sha-?\d|sha[_-]|md5|hash|digest|checksum|integrity|commit|fingerprint|etag|\bh1:|public|pub_?key|certificate"
    rb"|uuid|guid|base64,|\?[bq]\?$|blob|alphabet|charset|revision|ssh-(?:rsa|dss|ed25519)|ecdsa-sha2|\bnonce)"
)
NUMBER = re.compile(rb"(?<![\w.])(\d{6,12}:)$")
BLOCK_LINE = re.compile(
    rb"[^A-Za-z0-9+/=]{0,60}+(?:[rbu]?[\"'])?[A-Za-z0-9+/=]{40,}+[^A-Za-z0-9+/=]{0,10}n?[\"']?[^\w]{0,4}"
)


def shapes_and_chance(data: bytes, lower: bytes) -> Iterator[Span]:
    """Look at every run of 20 or more letters, digits, _ and -: each token has one."""
    classes = data.translate(RUN_CLASSES)
    done, at = 0, classes.find(RUN)
    while at >= 0:
        end = classes.find(b" ", at)
        end = len(data) if end < 0 else end
        if at >= done and not WORDS_ONLY.fullmatch(data, at, end):
            if token := _token(data, at):
                done = token.end()
                yield token.start(), done, str(token.lastgroup)
            else:
                yield from _chance(data, at, end)
        at = classes.find(RUN, max(end, done))


def _token(data: bytes, at: int) -> re.Match[bytes] | None:
    """Give the token that begins with this run, or with a few letters and a dot before it."""
    before = data[max(0, at - 5) : at]
    starts = [at]
    if before.endswith(b"\\") and data[at : at + 1] in b"nrt":
        starts = [at + 1]  # "\\nghp_..." in a string is a line break and a token
    elif before.endswith(b"."):
        starts += [at - len(begin) for begin in DOTTED if before.endswith(begin)]
    for start in starts:
        token = SHAPE.match(data, start)
        if not token or is_made_up(token.group()):
            continue
        if token.lastgroup not in NEEDS_CHANCE or oddness(token.group()[4:]) >= 0.35:
            return token
    return None


def _chance(data: bytes, start: int, end: int) -> Iterator[Span]:
    """Give the string around a run, or the run alone, if it looks drawn and is called no hash."""
    if end - start > LONGEST_TOKEN:
        return
    left, right = data[max(0, start - LONGEST_TOKEN) : start], data[end : end + LONGEST_TOKEN]
    first = start - (len(left) - len(left.rstrip(LEFT_BYTES)))
    last = end + len(right) - len(right.lstrip(RIGHT_BYTES))
    if last - first > LONGEST_TOKEN:
        return
    for low, high in ((first, last), (start, end)):
        if data[high : high + 1] == b"@":
            return  # an address, which is looked at as such
        if _is_drawn(data[low:high]):
            line = data.rfind(b"\n", max(0, low - 50), low) + 1
            is_known = NO_SECRET_BEFORE.search(data, max(line, low - 50), low)
            if not is_known and not _is_in_a_block(data, low, high):
                number = NUMBER.search(data[max(0, low - 13) : low])  # 123456789:token, as of Telegram
                yield low - (len(number[1]) if number else 0), high, "high_entropy"
            return


def _is_drawn(token: bytes) -> bool:
    """Say whether a string looks drawn by chance though nothing around it says so."""
    if not RUN_LENGTH <= len(token) <= LONGEST_TOKEN or token[:2] in (b"0x", b"0X") or is_made_up(token):
        return False
    if UNSAFE_HEX.fullmatch(token):
        return False  # a hash or an identifier as likely as a key; a word beside it decides
    if prefixed := PREFIXED_HEX.fullmatch(token):
        known = NO_SECRET_BEFORE.search(token) or re.match(rb"rev|build|v\d|id[_-]", token)
        return not known and is_hex_key(prefixed["hex"] or prefixed["glued"], 32)
    if not DIGIT.search(token) and (len(token) < 24 or token.islower() or token.isupper()):
        return False
    return oddness(token) >= LEAST_ODD and entropy(token) >= 3.3 and not _is_encoded_text(token)


UNSAFE_HEX = re.compile(rb"[0-9a-fA-F-]+")
DIGIT = re.compile(rb"[0-9]")


def _is_encoded_text(token: bytes) -> bool:
    """Say whether a string is base64 of something to read; drawn ones are by chance in 1 of 1,000."""
    try:
        plain = base64.b64decode(token.rstrip(b"=")[: len(token) // 4 * 4])
    except binascii.Error:
        return False
    return sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in plain) >= 0.85 * len(plain)


def _is_in_a_block(data: bytes, start: int, end: int) -> bool:
    """Say whether the line above or below is one long string, too: then this is data, as in certificates."""
    first = data.rfind(b"\n", max(0, start - 200), start)
    last = data.find(b"\n", end, end + 200)
    above = (
        data[max(0, data.rfind(b"\n", max(0, first - 200), max(first, 0)) + 1) : first] if first > 0 else b""
    )
    below = data[last + 1 : last + 201].split(b"\n", 1)[0] if last >= 0 else b""
    return any(BLOCK_LINE.fullmatch(line.rstrip()) for line in (above, below))


# --- URLs and headers ------------------------------------------------------------------------------------

IN_URL = re.compile(
    rb"://(?:hooks\.slack\.com/(?:services|workflows|triggers)/(?P<hook>[\w/+-]{20,120})"
    rb"|(?P<user>[^\s/@:\"'<>`\\]{0,80}):(?P<word>[^\s/@\"'<>`\\]{3,200})@(?=[\w.\[$%{-])"
    rb"|(?P<token>[\w.~-]{16,200})@(?=\w))"
)
TEMPLATE = re.compile(rb"^[{%$*:<\[]|[{(<]|\$[A-Z]")
BASIC = re.compile(rb"[ \t]{1,2}([A-Za-z0-9+/]{8,200}={0,2})(?![\w+/=])")


def in_urls(data: bytes, lower: bytes) -> Iterator[Span]:
    for found in IN_URL.finditer(data):
        if (hook := found["hook"]) and not is_made_up(hook):
            yield *found.span("hook"), "slack_webhook"
        elif (word := found["word"]) and not is_made_up(word) and word != found["user"]:
            if not TEMPLATE.search(word):
                yield *found.span("word"), "url_password"
        elif (token := found["token"]) and oddness(token) >= 0.45 and not is_made_up(token):
            yield *found.span("token"), "url_password"


def basic_headers(data: bytes, lower: bytes) -> Iterator[Span]:
    """Give what follows the word Basic when it decodes to user:password."""
    at = lower.find(b"basic")
    while at >= 0:
        if value := BASIC.match(data, at + 5):
            try:
                user, _, word = base64.b64decode(value[1], validate=True).partition(b":")
            except binascii.Error:
                user, word = b"", b""
            if word and (user + word).isascii() and (user + word).decode().isprintable():
                yield *value.span(1), "basic_auth"
        at = lower.find(b"basic", at + 5)


# --- Values beside a word ----------------------------------------------------------------------------------

WORDS = (
    b"pass",
    b"pwd",
    b"secret",
    b"token",
    b"key",
    b"auth",
    b"cred",
    b"bearer",
    b"cookie",
    b"session",
    b"webhook",
)
NAME_BYTES = b"abcdefghijklmnopqrstuvwxyz0123456789_-."
NAME_REST = re.compile(rb"[\w.-]{0,60}+")

A_PASSWORD = re.compile(
    rb"passw|passphrase|passcode|pwd|(?:^|[_.-]|user|db|my|root|admin|smtp|ftp)pass(?![a-z])"
)
A_SECRET = re.compile(rb"secret|credential")
A_KEY = re.compile(
    rb"token|auth(?!or(?!i[sz]))|bearer|cred|cookie|session|webhook"
    rb"|(?:api|access|private|account|encrypt\w{0,3}|sign\w{0,3}|master|service|subscription|client|consumer"
    rb"|licen[cs]e|app|shared|storage|deploy|ssh|server|user|hmac|aes|jwt)[_.-]?key"
)
NO_SECRET_NAME = re.compile(
    rb"hash|digest|sha\d|md5|checksum|fingerprint|public|pub_?key|[_-]ids?$|author(?!i[sz])|keyword|keyboard"
)

# Code rather than a value: an escape, a format, a call, a path, a file.
LIKE_CODE = re.compile(
    rb"\\[a-zA-Z]|%[-\d.]*[sdrfx](?![a-z\d])|\$[A-Za-z_]|\{[\w.:!]*\}|\[|\(\?|\(\)|\)$|://|->|::|^[./~#]|^--|&\w{2,6};"
    rb"|\.(?:py|js|ts|json|txt|html?|pem|key|crt|cfg|conf|ini|ya?ml|xml|[ch]|java|php|rb|go|md|sh|png|svg)$"
)
REFERENCE = re.compile(rb"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*")  # what an unquoted value mostly is

CLOSERS = re.compile(rb"(?:\\?[\"'`]|[\])]){0,3}+")
QUOTED = re.compile(  # escaped quotes of JSON inside a string first
    rb"\\\"([^\"\\\n]++)\\\"|\"((?:[^\"\\\n]++|\\.)++)\"|'((?:[^'\\\n]++|\\.)++)'|`([^`\n]++)`"
)
# Between a name and its value: an assignment, a mapping, an argument, with a type before it, a cast after it.
ASSIGNED = re.compile(
    rb"(?:[ \t]\{[ \t\w;]{3,30}\})?[ \t]{0,8}(?::[ \t]?[\w.&<>\[\]?|' ]{1,40}?)?"
    rb"(?:=>|:=|[=!]==?|[=:,>(]|\?\?|\|\||[ \t]value[ \t]?=)"
    rb"[ \t]{0,8}\(?[A-Za-z@$&]{0,2}"
)
DEFINED = re.compile(rb"[ \t]{1,20}(?:[\w<>\[\]]{1,20}[ \t])?[@bLru]?")  # #define NAME "v", token "v"
NAME_VALUE = re.compile(
    rb"[\"']?,?[ \t]{0,8}\n?[ \t]{0,40}[\"']?[Vv]alue[\"']?(?=[ \t]?[:=])"
)  # name: N, value: V
SCHEME = re.compile(rb"(?i:bearer|basic|token|apikey|api-key|key)[ \t]{1,2}")
UNQUOTED = re.compile(
    rb"(?P<sign>[ \t]{0,4}(?:=>|:=|=|:|>|(?=[ \t]))[ \t]{0,4})(?:(?i:bearer|token|apikey|key)[ \t]{1,2})?"
    rb"(?P<value>[^\s\"'`,;<>(){}\[\]|&\\]{6,256}+)"
)
MOST_NAMES = 64  # that are looked at anywhere; see beside_words
QUOTE = re.compile(rb"[\"'`]")
LONGEST_GAP = 100  # characters between a name and the quote that opens its value
WINDOW = 300  # characters after a name in which its value stands
AWS_SECRET = re.compile(rb"[A-Za-z0-9/+]{40}")
SPECIAL = frozenset(b"!@#$%^&*+=?~|;()<>{}[]")


def beside_words(data: bytes, lower: bytes) -> Iterator[Span]:
    done = examined = 0
    for at in _word_places(lower):
        # More such words than one in 48 characters is no code, and would cost much.
        if at < done or examined > MOST_NAMES + at // 48:
            continue
        examined += 1
        before = lower[max(0, at - 40) : at]
        start = at - (len(before) - len(before.rstrip(NAME_BYTES)))
        done = _end(NAME_REST.match(data, at))
        grade = _grade(lower[start:done].lstrip(b"-."))
        if grade:
            for low, high, kind in _values_after(data, start, done, grade):
                done = max(done, high)
                yield low, high, kind


def _end(match: re.Match[bytes] | None) -> int:
    assert match is not None  # a pattern that may be empty always matches
    return match.end()


def _word_places(lower: bytes) -> list[int]:
    places = []
    for word in WORDS:
        at = lower.find(word)
        while at >= 0:
            places.append(at)
            at = lower.find(word, at + len(word))
    return sorted(places)


def _grade(name: bytes) -> str:
    """Say what a name promises: "password", "secret", "key", "weak" or nothing ("")."""
    if A_PASSWORD.search(name):
        return "password"
    if NO_SECRET_NAME.search(name):
        return ""
    if A_SECRET.search(name):
        return "secret"
    if A_KEY.search(name):
        return "key"
    return "weak" if b"key" in name or name.endswith(b"pass") else ""


def _values_after(data: bytes, start: int, end: int, grade: str) -> Iterator[Span]:
    """Give the values that stand after a name, if they are secrets."""
    pair = NAME_VALUE.match(data, end)
    head = pair.end() if pair else _end(CLOSERS.match(data, end))
    line = data.find(b"\n", head, head + WINDOW)
    limit = min(len(data), head + WINDOW) if line < 0 else line
    if grade == "weak" and not DIGIT.search(data, head, limit):
        return
    name = data[start:end].lower()
    if plain := UNQUOTED.match(data, head, limit):
        first = 0 if pair else max(0, start - WINDOW)
        before = b"" if pair else data[data.rfind(b"\n", first, start) + 1 or first : start]
        if _is_plain_secret(plain, grade, before, data[plain.end() : limit]):
            yield *plain.span("value"), _kind(name, plain["value"], grade)
    quote = QUOTE.search(data, head, min(limit, head + LONGEST_GAP))
    if not quote:
        return
    for number, quoted in enumerate(QUOTED.finditer(data, max(head, quote.start() - 1), limit)):
        if number == 2:
            break
        low, high = quoted.span(quoted.lastindex or 0)
        if scheme := SCHEME.match(data, low, high):
            low = scheme.end()
        value = data[low:high]
        is_sure = number == 0 and _is_assigned(data, start, data[head : quoted.start()])
        if _is_secret(value, grade, is_sure):
            yield low, high, _kind(name, value, grade)


def _is_assigned(data: bytes, start: int, gap: bytes) -> bool:
    """Say whether what stands between a name and a quoted value gives the one the other."""
    if len(gap) > LONGEST_GAP:
        return False
    if gap.strip() == b",":  # define("NAME", "v") does; in a longer list a word says nothing of the next
        return data[max(0, start - 2) : start - 1] == b"("
    return bool(ASSIGNED.fullmatch(gap) or DEFINED.fullmatch(gap))


def _kind(name: bytes, value: bytes, grade: str) -> str:
    if AWS_SECRET.fullmatch(value) and (b"aws" in name or (b"secret" in name and b"access" in name)):
        return "aws_secret_key"
    if name.endswith((b"accountkey", b"sharedaccesskey")):
        return "azure_key"
    return "password" if grade == "password" else "credential"


def _is_secret(value: bytes, grade: str, is_sure: bool) -> bool:
    """Say whether a quoted value after a name of this grade is a secret.

    is_sure: it is assigned to the name, not only near it.
    """
    return (
        b" " not in value
        and b"\t" not in value
        and _is_likely(value, grade, is_sure)
        and not is_made_up(value)
    )


def _is_likely(value: bytes, grade: str, is_sure: bool) -> bool:
    if is_sure and grade in ("password", "secret"):
        return _is_password(value) or is_hex_key(value, 8)
    if is_hex_key(value, 16 if is_sure else 32):
        return grade != "weak" or (is_sure and len(value) >= 32 and b"-" not in value)
    odd, has_digit = oddness(value), DIGIT.search(value) is not None
    if is_sure and grade != "weak" and has_digit and len(value) >= 10:
        is_drawn = odd >= 0.4 and entropy(value) >= 2.8
    else:
        least = 0.47 if has_digit else 0.45 if is_sure and len(value) >= 20 else 0.55
        is_drawn = len(value) >= 16 and odd >= least and entropy(value) >= 3.0
    return is_drawn and not (LIKE_CODE.search(value) and (len(value) < 24 or odd < 0.6 or b"\\" in value))


def _is_password(value: bytes) -> bool:
    """Say whether a value assigned to a password is one: drawn, or a word with digits as people take."""
    if len(value) < 7:
        return False
    letters = sum(chr(byte).isalpha() for byte in value)
    digits = sum(48 <= byte < 58 for byte in value)
    signs = sum(byte in SPECIAL for byte in value)
    odd = oddness(value)
    if odd >= 0.5 and letters and (digits or signs or len(value) >= 10) and entropy(value) >= 2.5:
        return not (REGEX_LIKE.search(value) and odd < 0.6)
    if digits + signs == 0 and letters == len(value) >= 14 and odd >= 0.36:
        return True  # letters only, yet no words
    return len(value) >= 8 and min(letters, digits) > 0 and odd > 0 and not _is_path_or_code(value)


def _is_path_or_code(value: bytes) -> bool:
    return LIKE_CODE.search(value) is not None or value.count(b"/") > 1


REGEX_LIKE = re.compile(rb"\\[a-zA-Z.]|\[[^\]]*-|\(\?|[+*?][)$]|^\^|%[sdr]|\{\w*\}")


def _is_plain_secret(found: re.Match[bytes], grade: str, before: bytes, after: bytes) -> bool:
    """Say whether an unquoted value is a secret: in a shell, a YAML or .env file, a header, inside a string.

    before and after: what stands on the same line before the name and after the value.
    """
    value = found["value"].rstrip(b".:")
    if value[:1] in b"$%*!@&=":
        return False
    odd = oddness(value)
    is_hex = is_hex_key(value, 32 if grade == "weak" else 16)
    if is_hex:
        is_likely = b"-" not in value or grade != "weak"
    elif len(value) >= 16 and odd >= 0.47 and DIGIT.search(value) and entropy(value) >= 3.0:
        is_likely = True
    else:
        is_likely = (
            grade != "weak" and _is_set(found, before, after) and _is_plain_password(value, grade, odd)
        )
    if not is_likely or (LIKE_CODE.search(value) and (len(value) < 12 or odd < 0.6)):
        return False
    return not is_made_up(value)


def _is_set(found: re.Match[bytes], before: bytes, after: bytes) -> bool:
    """Say whether a line is a setting (NAME=v, - name: v, --name=v, ENV NAME v) or within a string."""
    begun, sign = before.strip(), found["sign"].strip()
    if begun in (b"export", b"set", b"ENV", b"ARG") or b"login " in begun:  # "login x password v" of .netrc
        return True
    is_in_string = any(before.count(quote) % 2 for quote in (b'"', b"'", b"`"))
    is_line = (not after.strip() or after.lstrip()[:1] == b"#") and not begun.strip(b"-")
    return bool(sign) and (is_in_string or is_line or begun.endswith(b"--") or sign == b">")


def _is_plain_password(value: bytes, grade: str, odd: float) -> bool:
    has_digit = DIGIT.search(value) is not None
    if REFERENCE.fullmatch(value):  # may be a variable as well
        if has_digit:
            return len(value) >= 8 and odd >= 0.35
        return len(value) >= 14 and odd >= (0.4 if grade == "password" else 0.5)
    if grade in ("password", "secret"):
        return _is_password(value)
    return has_digit and len(value) >= 10 and odd >= 0.4


SECRET_RULES = (private_keys, shapes_and_chance, in_urls, basic_headers, beside_words)
