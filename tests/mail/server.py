"""A mail server for tests: keeps every mail as a file.

server.py PORT plain|starttls|tls DIRECTORY CERTIFICATE USER PASSWORD
"""

import pathlib
import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


class Keeper:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        head = f"X-To: {','.join(envelope.rcpt_tos)}\nX-Tls: {session.ssl is not None}\n"
        (self.directory / f"{self.count}.eml").write_bytes(head.encode() + envelope.content)
        return "250 kept"


def main():
    port, mode, directory, certificate, user, password = sys.argv[1:]

    def authenticate(server, session, envelope, mechanism, data):
        good = data.login.decode() == user and data.password.decode() == password
        return AuthResult(success=good, handled=False)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    options = {
        "plain": {},
        "starttls": {"tls_context": context, "require_starttls": True},
        "tls": {"ssl_context": context, "auth_require_tls": False},
    }[mode]
    if mode != "plain":
        options |= {"authenticator": authenticate, "auth_required": True}
    controller = Controller(Keeper(directory), hostname="127.0.0.1", port=int(port), **options)
    controller.start()
    signal.pause()


main()
