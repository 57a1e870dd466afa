"""GET and POST in turns over one connection of requests, until stdin ends. A line for each answer:
its body, its status, the process and the client's port that it names, and a dash."""

import random
import sys
import threading

import requests


def main(url, body):
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    session = requests.Session()
    # No proxy of the environment.
    session.trust_env = False
    while not stop.wait(random.uniform(0, 0.02)):
        for method, content in [("GET", None), ("POST", body)]:
            answer = session.request(method, url, data=content)
            named = [answer.headers[name] for name in ("x-pid", "x-port")]
            print(answer.text, answer.status_code, *named, "-", flush=True)


main(*sys.argv[1:])
