"""`inr-jax view`: what it serves to this machine, and all that it serves to nobody."""

import http.client
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest
from command import environment, say

from inr_jax import serve


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for eye in ("right", "left"):
        (tmp_path / "out" / eye).mkdir(parents=True)
        (tmp_path / "out" / eye / "report.html").write_text(f"<p>{eye}")
    (tmp_path / "out" / "left" / "metrics.csv").write_text("psnr\n")
    (tmp_path / "out" / "linked.txt").symlink_to(tmp_path / "secret.txt")
    return tmp_path / "out"


@pytest.fixture
def port(folder):
    with serve.make_server(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def asked(port, path, *, method="GET", host=None):
    """Status, headers and text of an answer to a path that is sent as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def test_files_of_the_folder_are_served_and_its_root_leads_to_its_reports(folder, port):
    assert asked(port, "/left/report.html")[::2] == (200, "<p>left")
    assert asked(port, "/left/metrics.csv")[::2] == (200, "psnr\n")
    status, _, page = asked(port, "/")
    assert status == 200
    assert [f'href="/{eye}/report.html"' in page for eye in ("left", "right")] == [True, True]
    assert "For research use, not for diagnosis." in page
    (folder / "report.html").write_text("<p>own")
    assert asked(port, "/")[::2] == (200, "<p>own")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/left/../../secret.txt",
        "/left/%2e%2e/%2e%2e/secret.txt",
        "//../secret.txt",
        "/linked.txt",
        "/left",
        "/left/",
        "/nothing",
    ],
)
def test_nothing_outside_the_folder_and_no_list_of_a_folder_is_served(path, port):
    status, _, page = asked(port, path)
    assert status == 404
    assert "secret" not in page.replace(path, "")
    assert "metrics" not in page


def test_who_asks_by_another_name_or_would_write_is_refused(port):
    """A page elsewhere may let a name of its own lead to this machine: the browser then sends that name."""
    assert asked(port, "/left/report.html", host="example.org")[0] == 403
    assert asked(port, "/left/report.html", host=f"localhost:{port}")[0] == 200
    assert asked(port, "/left/report.html", method="POST")[0] == 501


def test_answers_are_neither_kept_nor_guessed_at_nor_told_to_others(port):
    headers = asked(port, "/left/report.html")[1]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "connect-src 'none'" in headers["Content-Security-Policy"]


def test_no_other_address_of_this_machine_is_listened_at(port):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=20)


def test_a_browser_is_opened_at_the_only_report_and_otherwise_at_their_list(folder, capsys):
    opened = []

    def open_and_stop(address):
        opened.append(address.split("/", 3)[3])
        raise KeyboardInterrupt

    serve.view(folder, opened=open_and_stop)
    (folder / "right" / "report.html").unlink()
    serve.view(folder, opened=open_and_stop)
    assert opened == ["", "left/report.html"]
    assert capsys.readouterr().out.splitlines()[1::2] == ["ended", "ended"]


def test_ctrl_c_ends_the_command_without_a_word_of_error(folder):
    command = [sys.executable, "-m", "inr_jax", "view", str(folder), "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), **pipes) as process:
        address = process.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        assert "left" in urllib.request.urlopen(address, timeout=20).read().decode()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_a_folder_without_reports_or_none_at_all_is_told_in_one_line(tmp_path, capsys):
    assert f"{tmp_path}: expected report.html" in say(capsys, "view", tmp_path).error
    assert f"{tmp_path / 'none'}: expected a folder" in say(capsys, "view", tmp_path / "none").error
    assert "expected one folder that adapt has written; found 0" in say(capsys, "view").error
