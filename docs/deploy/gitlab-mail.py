"""Hands a message to GitLab's mail_room API: gitlab-mail.py URL SECRET_FILE, the message on standard input.

Exit status 0: taken; 65: refused; 75: try again later. docs/deliver-recipes.md tells how it is used.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


def encoded(data):
    """Base64 as in a JSON Web Token (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(secret):
    """A token that GitLab believes for five minutes."""
    head = {"alg": "HS256", "typ": "JWT"}
    claims = {"iss": "gitlab-mailroom", "iat": int(time.time())}
    signed = b".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
    return (signed + b"." + encoded(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


def main(url, secret_file):
    """Post it; the exit status."""
    try:
        secret = base64.b64decode(Path(secret_file).read_bytes().strip(), validate=True)
        headers = {"Gitlab-Mailroom-Api-Request": token(secret), "Content-Type": "text/plain"}
        request = urllib.request.Request(url, sys.stdin.buffer.read(), headers)  # noqa: S310 - from the targets file
        with urllib.request.urlopen(request, timeout=50) as response:  # noqa: S310
            print(f"HTTP {response.status}")
            return 0 if response.status == 200 else 75
    except urllib.error.HTTPError as error:
        print(f"HTTP {error.code}")
        return 65 if error.code == 400 else 75
    except (OSError, ValueError) as error:
        print(f"GitLab cannot be reached: {error}")
        return 75


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
