"""One bare POST by ``requests.Session``, kept alive. Usage: URL."""

from __future__ import annotations

import sys

import requests
from serving import serve
from submission import SUBMISSION

url = sys.argv[1]
session = requests.Session()


def call(number: int) -> None:
    answer = session.post(url, json=SUBMISSION)
    assert answer.status_code == 200
    assert answer.content


serve(call)
