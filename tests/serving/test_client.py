"""The example of a client, where a server is not the pipeline's own."""

import http.server
import threading

from serving import client


class Other(http.server.BaseHTTPRequestHandler):
    """Answers as MLflow's own server does to what it does not know."""

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


def test_of_a_server_that_shows_no_rows_it_says_what_to_add(capsys):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert client.main(["--url", f"http://127.0.0.1:{server.server_port}"]) == 1
        server.shutdown()
    said = capsys.readouterr().err
    assert "as MLflow's own server does not: add --example" in said and len(said.splitlines()) == 1
