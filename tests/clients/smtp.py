"""A mail server on loopback that wants TLS and a login. Prints its port, then each mail it takes as a line of JSON.

smtp.py MODE CERTIFICATE KEY [PORT]: MODE is starttls or tls (from the first byte). With HANG in the environment it
takes a mail and never says so.
"""

import asyncio
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

USER, PASSWORD = b"cloud", b"correct horse"


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "login": session.auth_data.login.decode(),
            "tls": session.ssl is not None or server.transport.get_extra_info("cipher") is not None,
            "text": envelope.content.decode(),
        }
        print(json.dumps(mail), flush=True)
        while "HANG" in os.environ:
            await asyncio.sleep(1)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, login):
    good = (login.login, login.password) == (USER, PASSWORD)
    return AuthResult(success=good, handled=good, auth_data=login)


async def main(mode, certificate, key, port="0"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # aiosmtpd knows of TLS that it began itself.
    tls = {"auth_require_tls": False}
    if mode == "starttls":
        tls = {"tls_context": context, "require_starttls": True}

    def protocol():
        return SMTP(Handler(), auth_required=True, authenticator=authenticate, **tls)

    over = context if mode == "tls" else None
    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", int(port), ssl=over
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
