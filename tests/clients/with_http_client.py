"""GET and POST in turns over one connection of http.client, until stdin ends. A line for each answer:
its body, its status, the process and the client's port that it names, and the port that is the client's.
Over TLS, by ssl: whom to trust, and the version."""

import http.client
import random
import ssl
import sys
import threading
from urllib.parse import urlsplit


def over_tls(url, root, version):
    context = ssl.create_default_context(cafile=root)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    return http.client.HTTPSConnection(url.hostname, url.port, context=context)


def main(url, body, *tls):
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    url = urlsplit(url)
    connection = over_tls(url, *tls) if tls else http.client.HTTPConnection(url.hostname, url.port)
    while not stop.wait(random.uniform(0, 0.02)):
        for method, content in [("GET", None), ("POST", body)]:
            connection.request(method, url.path, body=content)
            port = connection.sock.getsockname()[1]
            answer = connection.getresponse()
            text, header = answer.read().decode(), answer.getheader
            print(text, answer.status, header("x-pid"), header("x-port"), port, flush=True)


main(*sys.argv[1:])
