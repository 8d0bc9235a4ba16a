"""Find out which names of parameters, fields, keys and headers hold a secret (promise 8).

1. A name is read in one pass. A name longer than ``LONGEST`` counts as secret: padding must not hide a word.
2. Look-alike letters (full-width, accented, Cyrillic, Greek) count as the Latin letters that they resemble.
3. A name is split into words at separators, digits and changes of case. A word that consists of several words
   (``dbpass``, ``hmackey``) is split into words of this module, or loses a known ending.
4. Some words are secret in any place (``password``), some in a phrase (``api_key``, ``card_number``), and some
   at the end of the name (``auth``, ``pass``). An ambiguous word alone (``key``, ``code``, ``url``) is not.
5. A short name that ends in a word about a secret (``password_length``), or that asks about one (``has_password``), is
   not secret. Neither is a number of language-model tokens (``max_tokens``) or a cursor (``page_token``).
6. In doubt the name is secret. Personal data (``email``, ``birth_date``) is not: it needs ``redact=``.
"""

from __future__ import annotations

import functools
import re
import unicodedata

__all__ = ["LONGEST", "is_secret_name"]

LONGEST = 256
"""The most characters of a name that is read. A longer text is not a name, so nothing is known about it."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(firsts: str, lasts: str) -> frozenset[str]:
    return frozenset(f"{first}_{last}" for first in firsts.split() for last in lasts.split())


# --- rule 4: words and phrases ----------------------------------------------------------------------------------------

_ANYWHERE = re.compile(
    "password|passwd|passphrase|passcode|passwort|kennwort|contrasen|motdepasse|wachtwoord|credential|apikey|accesskey|"
    "privatekey|privkey|secretkey|sessionkey|signingkey|encryptionkey|masterkey|sshkey|clientsecret|authheader|"
    "connectionstring|(?:access|refresh|auth|bearer|session|id|api|csrf|xsrf)token"
)
_SECRET = _words(
    "password passwd pwd pw passphrase passcode passkey secret credential cred authorization cookie bearer jwt "
    "otp totp hotp cvv cvc ssn pin pincode dsn psk csrf xsrf csrftoken sessionid sessid jsessionid phpsessid pem "
    "pfx keytab kubeconfig netrc htpasswd mnemonic iban aadhaar aadhar cpf nino pesel curp "
    # Portuguese, Polish, Czech and Slovak, Romanian, Finnish, Swedish, Norwegian, Danish, Turkish, Hungarian, French,
    # Spanish, Portuguese, German, Vietnamese
    "senha haslo heslo parola salasana losenord passord adgangskode sifre jelszo mdp secreto segredo geheimnis "
    "matkhau"
)
_TOKEN = _words("token tkn")
_WHOLE = _words("pass sid passport pan signature salt sas p12 cardno ccno")
_VENDORS = (
    "openai anthropic stripe aws azure gcp google github gitlab gh slack twilio sendgrid mailgun mailchimp "
    "datadog cohere mistral groq huggingface pinecone firebase heroku cloudflare algolia newrelic sentry tavily "
    "serper serpapi deepl elevenlabs replicate gemini supabase vercel okta shopify paypal square plaid telegram "
    "discord"
)
_STORES = (
    "database db redis mongo mongodb postgres postgresql pg mysql mariadb amqp rabbitmq rabbit broker celery "
    "kafka elasticsearch elastic clickhouse mssql oracle sqlserver sqlalchemy jdbc ldap smtp imap ftp sftp "
    "memcached cassandra couchdb influxdb snowflake redshift cockroach nats mqtt connection conn proxy"
)
_PHRASES = (
    _phrases(
        "api access private priv session signing signature encryption decryption encrypt decrypt enc kek dek sha ssh "
        "master account storage shared auth authentication secret hmac aes des rsa dsa ecdsa ed gpg pgp tls ssl "
        "server client root unseal license licence activation recovery jwt webhook service consumer app application "
        "subscription deploy wrapping vault cipher crypto symmetric sas admin bot functions stream x pass " + _VENDORS,
        "key",
    )
    | _phrases(
        "security recovery backup verification mfa fa factor sms otp login signin auth authorization authentication "
        "oauth access pin reset unlock door gate alarm activation pairing device safe vault",
        "code",
    )
    | _phrases(
        "card cc account acct sin passport insurance identity national id licence license tax routing",
        "number no num nr",
    )
    | _phrases("tax taxpayer national passport", "id")
    | _phrases(_STORES + " signed presigned sas webhook reset", "url uri dsn")
    | _phrases("slack discord teams", "webhook")
    | _phrases(_VENDORS + " devops", "pat")
    | _phrases("magic reset login signin invite", "link")
    | _phrases("amz x hmac webhook request url", "signature")
    | _phrases("seed recovery pass backup wallet", "phrase")
    | _phrases("auth", "header data info string value param payload")
    | _words(
        "connection_string conn_string conn_str social_security one_time_code code_verifier credit_card debit_card "
        "bank_account pass_word pass_hash card_verification presigned_post neo_j_uri neo_j_url id_rsa id_dsa "
        "connect_sid wallet_seed mot_de_passe mot_passe mat_khau clave_secreta clave_privada clave_acceso clave_api "
        "chave_secreta chave_privada chave_api palavra_passe"
    )
)  # fmt: skip
_WITHOUT_SPACES = re.compile(
    "пароль|секрет|密码|密碼|口令|密钥|密鑰|パスワード|暗証番号|비밀|암호|סיסמה|المرور|पासवर्ड|รหัสผ่าน"
)
_PASSES = _words(
    "boarding season bus ski day guest hall first second third last render two three multi by com sur over under "
    "tres encom battle low high band all free lift park train travel rail city event vip gate visitor museum "
    "single one forward backward mountain event next final num number max min"
)

# --- rule 5: what tells about secrets ---------------------------------------------------------------------------------

_ABOUT = _words(
    "count counter limit length len size policy strength type kind format expiry expire expiration expired "
    "changed updated rotated rotation created required enabled disabled allowed attempt retry retries age ttl "
    "usage budget cost price rate status exist exists present consent banner setting text notice accepted recipe "
    "preference minimum maximum complexity brand country title label name arn description fee endpoint method "
    "mode"
)
_LINKING = _words("at in on by m ms sec second minute hour day per")
_ASKING = _words("has have is are need needs require requires required max min num use uses skip without")
_MOST_WORDS = 5
# Words beside "token" or "tokens" that make it a quantity, a kind of language-model token, a cursor or a coin.
_COUNTED = _words(
    "count counter limit usage budget length len size type cost price rate estimate max min num number n total "
    "per eos bos pad unk mask cls sep special stop page next continuation pagination cursor symbol address "
    "decimal standard supply balance amount contract url uri ids window"
)
_COUNTED_MANY = _COUNTED | _words(
    "used using input output prompt completion reasoning cached remaining left saved spent generated estimated "
    "sampled context new in out chunk window"
)

# --- rule 2: letters --------------------------------------------------------------------------------------------------

_ALIKE = dict(zip("аеорсхуіѕјԁһкмтвнαορεικντυχıłøđ", "aeopcxyisjdhkmtbhaopeikvtuxilod", strict=True))
_LATIN = str.maketrans(
    _ALIKE | {alike.upper(): latin.upper() for alike, latin in _ALIKE.items() if alike != "ı"}
)
_DIGITS_ALIKE = str.maketrans("013457@$", "oleastas")

_MEMO: dict[str, bool] = {}


def is_secret_name(name: str) -> bool:
    """Return whether a parameter, field, key or header of this name holds a secret, as far as the name shows.

    Any spelling counts (``db_password``, ``passwordHash``, ``X-API-Key``, ``dbpass``), and ``author``, ``secretary``
    and ``max_tokens`` stay readable. In doubt it returns True. Linear in the name, and limited by ``LONGEST``.
    """
    known = _MEMO.get(name)
    if known is None:
        known = len(name) > LONGEST or _looks_secret(name)
        # Keys may come from an agent's data: neither many keys nor long ones may fill the memory.
        if len(name) <= 128:
            if len(_MEMO) >= 4096:
                _MEMO.clear()
            _MEMO[name] = known
    return known


def _looks_secret(name: str) -> bool:
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
        if _WITHOUT_SPACES.search(name.lower()):
            return True
        name = _latin(name)
    # Both ways to split it: oddly cased words ("pAsSwOrD") are found without case, the others by their words. The name
    # of a session's cookie is "sessionid"; "sessionId" and "session_id" name a conversation.
    for chunk in re.findall("[a-z]+", name.lower()):
        if _ANYWHERE.search(chunk) or (chunk in _SECRET and chunk != "sessionid"):
            return not _only_about(_split(name))
    if _ANYWHERE.search(re.sub("[^a-z]+", "_", name.lower().translate(_DIGITS_ALIKE))):
        return not _only_about(_split(name))
    if name.lower() in _WHOLE:
        return True
    spelled = _split(name)
    return _has_secret(spelled) and not _only_about(spelled)


def _latin(name: str) -> str:
    # Marks, and invisible characters, separate no words.
    apart = unicodedata.normalize("NFKD", name.translate(_LATIN).replace("ß", "ss"))
    return "".join(sign for sign in apart if unicodedata.category(sign) not in ("Mn", "Cf"))


# --- rule 3: splitting ------------------------------------------------------------------------------------------------

# Patterns are compiled at first use: compiling all of them takes longer than importing everything else.
_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]"
_ENDING = r"([a-z]{2,}?)(token|secret|pass|cookie)(s?)"
_ENGLISH = _words(
    "compass bypass trespass surpass overpass underpass encompass lowpass highpass bandpass betoken"
)


def _split(name: str) -> list[str]:
    spelled: list[str] = []
    for found in re.findall(_WORD, name):
        spelled += _parts(found.lower())
    return spelled


def _parts(word: str) -> list[str]:
    if len(word) < 5 or word in _vocabulary():
        return [word]
    parts = _known_parts(word)
    if parts:
        return parts
    ending = re.fullmatch(_ENDING, word)
    if ending and word.removesuffix("s") not in _ENGLISH and word not in _ENGLISH:
        return [ending[1], ending[2] + ending[3]]
    return [word]


def _known_parts(word: str) -> list[str]:
    """Return the fewest words of the vocabulary that form this one, or an empty list."""
    known, longest = _vocabulary(), _longest()
    best: list[list[str] | None] = [[]]
    for end in range(1, len(word) + 1):
        fewest: list[str] | None = None
        for start in range(max(0, end - longest), end):
            before = best[start]
            if before is None or len(before) == 6 or word[start:end] not in known:
                continue
            if fewest is None or len(before) + 1 < len(fewest):
                fewest = [*before, word[start:end]]
        best.append(fewest)
    return best[-1] or []


@functools.cache
def _vocabulary() -> frozenset[str]:
    parts = {part for phrase in _PHRASES for part in phrase.split("_")}
    words = (
        _SECRET
        | _TOKEN
        | _COUNTED_MANY
        | _ABOUT
        | parts
        | _words("user my root bind old new hash value pass auth")
    )
    plural = {f"{word}s" for word in ("key", "token", "secret", "code", "cookie", "credential")}
    # Shorter ones form too many ordinary words.
    short = _words("db pg pw cc")
    return frozenset(word for word in words | plural if len(word) > 2 or word in short)


@functools.cache
def _longest() -> int:
    return max(map(len, _vocabulary()))


# --- rules 4 and 5 ----------------------------------------------------------------------------------------------------


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _has_secret(spelled: list[str]) -> bool:
    words = [_singular(word) for word in spelled]
    asked = set(spelled) | set(words)
    for index, word in enumerate(words):
        if word in _SECRET or spelled[index] in _SECRET:
            return True
        # As it is spelled, too: "redis" is not a plural.
        for first in {word, spelled[index]}:
            after = words[index + 1 : index + 3]
            if "_".join((first, *after[:1])) in _PHRASES or "_".join((first, *after)) in _PHRASES:
                return True
        if word in _TOKEN and (_COUNTED_MANY if spelled[index] == "tokens" else _COUNTED).isdisjoint(asked):
            return True
    if not words:
        return False
    if words[-1] == "pass":
        return len(words) == 1 or _PASSES.isdisjoint((words[-2], spelled[-2]))
    return words[-1] in ("auth", "oauth", "sig")


def _only_about(spelled: list[str]) -> bool:
    if not 1 < len(spelled) <= _MOST_WORDS:
        return False
    if spelled[0] in _ASKING:
        return True
    last = spelled[-2] if spelled[-1] in _LINKING and len(spelled) > 2 else spelled[-1]
    return last in _ABOUT or _singular(last) in _ABOUT
