"""API keys by their issuers' prefixes, keys and passwords by their names, private keys in PEM."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from math import log2

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.view import View

_B64 = "A-Za-z0-9_-"
# What an issuer's keys begin with, and their whole form as the issuer's secret-scanning notes give
# it. The first column is looked for as a plain string: most texts hold none of them.
_ISSUED: tuple[tuple[str, str], ...] = (
    (
        "sk-",
        rf"sk-(?:ant-(?:api|admin)[0-9]{{2}}-|proj-|svcacct-|or-v1-|lf-)?[{_B64}]{{20,200}}",
    ),  # OpenAI, Anthropic, DeepSeek…
    ("pk-lf-", r"pk-lf-[0-9a-f-]{36}"),  # Langfuse
    ("gsk_", r"gsk_[A-Za-z0-9]{40,60}"),  # Groq
    ("xai-", r"xai-[A-Za-z0-9]{60,90}"),
    ("hf_", r"hf_[A-Za-z0-9]{30,40}"),  # Hugging Face
    ("r8_", r"r8_[A-Za-z0-9]{36,40}"),  # Replicate
    ("pplx-", r"pplx-[A-Za-z0-9]{40,60}"),
    ("gh", r"gh[pousr]_[A-Za-z0-9]{36,255}"),  # GitHub
    ("github_pat_", r"github_pat_[A-Za-z0-9_]{60,255}"),
    ("glpat-", rf"glpat-[{_B64}]{{20,60}}"),  # GitLab
    ("npm_", r"npm_[A-Za-z0-9]{36}"),
    ("pypi-", rf"pypi-AgE[{_B64}]{{50,250}}"),
    ("AKIA", r"AKIA[0-9A-Z]{16}"),  # AWS
    ("ASIA", r"ASIA[0-9A-Z]{16}"),
    ("AIza", rf"AIza[{_B64}]{{35}}"),  # Google
    ("ya29.", rf"ya29\.[{_B64}]{{20,250}}"),
    ("GOCSPX-", rf"GOCSPX-[{_B64}]{{28}}"),
    ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,250}"),  # Slack
    (
        "hooks.slack.com/",
        r"hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{20,30}",
    ),
    ("_live_", r"[sprk]{2}_live_[A-Za-z0-9]{16,250}"),  # Stripe
    ("_test_", r"[sprk]{2}_test_[A-Za-z0-9]{16,250}"),
    ("whsec_", r"whsec_[A-Za-z0-9+/=]{24,60}"),
    ("SG.", rf"SG\.[{_B64}]{{16,32}}\.[{_B64}]{{32,64}}"),  # SendGrid
    ("key-", r"key-[0-9a-f]{32}"),  # Mailgun
    ("shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),  # Shopify
    ("dop_v1_", r"dop_v1_[0-9a-f]{64}"),  # DigitalOcean
    ("dapi", r"dapi[0-9a-f]{32}(?:-[0-9])?"),  # Databricks
    ("LTAI", r"LTAI[A-Za-z0-9]{12,26}"),  # Alibaba Cloud
    ("AKID", r"AKID[A-Za-z0-9]{28,36}"),  # Tencent Cloud
    ("lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
    ("ntn_", r"ntn_[A-Za-z0-9]{40,50}"),  # Notion
    ("PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),  # Postman
    ("NRAK-", r"NRAK-[A-Z0-9]{27}"),  # New Relic
    ("glsa_", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}"),  # Grafana
    ("hvs.", rf"hvs\.[{_B64}]{{24,200}}"),  # Vault
    ("eyJ", rf"eyJ[{_B64}]{{10,2000}}+\.eyJ[{_B64}]{{10,4000}}+\.[{_B64}]{{16,1000}}"),  # JWT
    ("k.eyJ", rf"[sp]k\.eyJ[{_B64}]{{20,200}}\.[{_B64}]{{20,40}}"),  # Mapbox
    (":AA", rf"[0-9]{{8,10}}:AA[{_B64}]{{32,34}}"),  # Telegram bots
    ("AccountKey=", r"(?<=AccountKey=)[A-Za-z0-9+/]{86}=="),  # Azure storage
    ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
)
_FORMS = tuple(
    (mark, re.compile(rf"(?<![A-Za-z0-9_-])(?:{form})(?![A-Za-z0-9_])")) for mark, form in _ISSUED
)

_URL_PASSWORD = re.compile(r"://[A-Za-z0-9._%+-]{0,64}:([^\s:/@\"'<>]{1,128})@(?=[A-Za-z0-9\[])")
_NAMED = re.compile(
    r"(?:api[_ -]?key|apikey|access[_ -]?key(?:[_ -]?id)?|secret(?:[_ -]?(?:access[_ "
    r"-]?)?key)?|client[_ -]?secret"
    r"|auth[_ -]?token|access[_ -]?token|refresh[_ -]?token|bearer|token|password|passwd"
    r"|pwd|credential"
    r"|密钥|密鑰|秘钥|密码|密碼|口令|令牌)"
    r"[\"']?(?: is| are|是|为)?[ ]{0,3}(?:=>|:=|[=:\uff1a])?[ ]{0,3}[\"'`]?"
    r"([A-Za-z0-9_\-+/=.~!@#$%^&*]{8,256})"
)
_NAME_MARKS = (
    "key",
    "secret",
    "token",
    "bearer",
    "passw",
    "pwd",
    "credential",
    "密",
    "秘钥",
    "口令",
    "令牌",
)
_PLACEHOLDER = re.compile(
    r"x{4,}|\*{3,}|\.{3}|<|\$\{|\{\{|your|example|placeholder|changeme|dummy|redacted"
    r"|insert|todo|none|null|true|false",
    re.I,
)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.I)
_FILLER = re.compile(r"([xX0*.])\1{5}")
_RANDOM = 4.3  # bits a character
_LEAST_ENTROPY = (
    3.2  # bits a character: English identifiers of 20 letters lie at 2.9 to 3.6, keys above
)


def find_api_keys(view: View) -> Iterator[Found]:
    """Keys by the prefixes of some forty issuers, passwords in URLs, and random strings that a name
    (`api_key=`, `token:`, `密码是`) calls a secret.

    A random string mixes digits and letters, has at least 16 characters (8 and three kinds of
    characters after a word for password) and 3.2 bits of entropy a character; a placeholder
    (`your-key`, `xxxx`) is none.
    """
    text = view.text
    underscored = "_" in text
    for mark, form in _FORMS:
        if (underscored or "_" not in mark) and mark in text:
            for m in form.finditer(text):
                if len(set(m[0])) > 9 and not _FILLER.search(m[0]):
                    yield Found(*m.span(), "api_key", 0.97, m[0])
    if "://" in text and "@" in text:
        for m in _URL_PASSWORD.finditer(text):
            if not _PLACEHOLDER.search(m[1]):
                yield Found(*m.span(1), "api_key", 0.9, m[1])
    lower = view.lower
    if not any(mark in lower for mark in _NAME_MARKS):
        return
    for m in _NAMED.finditer(lower):
        start, end = m.span(1)
        value = text[start:end].rstrip(".!")
        end = start + len(value)
        if _is_secret(value, password=m[0].startswith(("passw", "pwd", "密码", "密碼", "口令"))):
            yield Found(start, end, "api_key", 0.75, value)


def _is_secret(value: str, *, password: bool) -> bool:
    # The key that AWS prints in its manuals has "EXAMPLE" in it, and is random all the same.
    if _PLACEHOLDER.search(value) and entropy(value) < _RANDOM:
        return False
    kinds = sum(
        (
            any(c.isdecimal() for c in value),
            any(c.islower() for c in value),
            any(c.isupper() for c in value),
            any(not c.isalnum() for c in value),
        )
    )
    if password:
        return kinds >= 3 and any(c.isdecimal() for c in value) and entropy(value) >= 2.5
    if len(value) < 16 or kinds < 2 or not any(c.isdecimal() for c in value):
        return False
    if ("/" in value and value.count("/") > 2) or "(" in value:
        return False  # a path
    return any(c.isalpha() for c in value) and entropy(value) >= _LEAST_ENTROPY


def entropy(text: str) -> float:
    """Shannon's entropy of a text's characters, bits a character."""
    n = len(text)
    return -sum(k / n * log2(k / n) for k in Counter(text).values()) if n else 0.0


_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(
    r"(?:(?:\r?\n|\\n)[ \t]*(?:[A-Za-z-]{1,30}: [^\n]{0,100}|[A-Za-z0-9+/=]{16,100})){1,400}"
)
_LONGEST = 32_768  # characters of one key with its lines


def find_private_keys(view: View) -> Iterator[Found]:
    """PEM and OpenPGP blocks of private keys; without an end, the lines of base64 that follow."""
    text = view.text
    if "PRIVATE KEY" not in text:
        return
    ends = [m.span() for m in _END.finditer(text)]
    starts = [start for start, _ in ends]
    floor = 0
    for m in _BEGIN.finditer(text):
        if m.start() < floor:
            continue
        at = bisect_left(starts, m.end())
        if at < len(ends) and ends[at][1] - m.start() <= _LONGEST:
            end = ends[at][1]
        else:
            body = _BODY.match(text, m.end())
            end = body.end() if body else m.end()
        floor = end
        yield Found(m.start(), end, "private_key", 0.99, text[m.start() : end])
