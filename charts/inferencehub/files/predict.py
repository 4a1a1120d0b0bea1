"""What `helm test` runs: wait until a pod serves, send one /predict, check its class."""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

URL, BODY = os.environ["URL"], os.environ["BODY"]
CLASS_ID = os.environ.get("CLASS_ID", "")
CERTIFICATE = os.environ.get("CERTIFICATE", "")
KEY = os.environ.get("KEY", "")
# A gateway that asks for keys, where this has none, must refuse the call.
STATUS = int(os.environ.get("STATUS", "200"))
PATIENCE_S = 90.0
# A cluster's proxy, which environment variables may name, does not know the Service.
# And the certificate, if there is one, is for the names that callers use, which the Service's need not be.
ANY = ssl.create_default_context()
ANY.check_hostname, ANY.verify_mode = False, ssl.CERT_NONE
# What this shows to a gateway that asks for certificates.
if CERTIFICATE:
    ANY.load_cert_chain(f"{CERTIFICATE}/tls.crt", f"{CERTIFICATE}/tls.key")
DIRECT = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ANY)
)


def ask(path: str, body: bytes | None = None) -> tuple[int, str]:
    """Status and text of an answer; status 0 where there is none."""
    headers = {"authorization": f"Bearer {KEY}"} if KEY else {}
    try:
        with DIRECT.open(urllib.request.Request(URL + path, body, headers), timeout=35) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def main() -> int:
    """0 where the answer is as expected, else 1 and a sentence."""
    end = time.monotonic() + PATIENCE_S
    for path, body, expected in (("/v2/health/ready", None, 200), ("/predict", BODY.encode(), STATUS)):
        status, text = ask(path, body)
        while status in (0, 503) and time.monotonic() < end:
            time.sleep(1)
            status, text = ask(path, body)
        if status != expected:
            sys.stderr.write(f"{path} answered {status}, expected {expected}: {text}\n")
            return 1
    if expected != 200:
        sys.stdout.write(f"{text}\n")
        return 0
    answer = json.loads(text)
    if answer["error"] or (CLASS_ID and answer["class_id"] != int(CLASS_ID)):
        sys.stderr.write(f"/predict answered {text}, expected class_id {CLASS_ID or 'any'}\n")
        return 1
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
