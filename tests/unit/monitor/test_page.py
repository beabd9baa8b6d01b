"""The page's own program, run by Node.js where there is one: what it says if it gets no answer."""

import json
import re
import subprocess
from importlib import resources
from shutil import which

import pytest

PAGE = resources.files("syncstructs.monitor").joinpath("page.html").read_text(encoding="utf-8")

# What the program finds in a browser. It is told what is answered, and says what it did.
BROWSER = """
const answers = ANSWERS, done = { asked: [], pauses: [], told: "", shown: false };
const elements = {};
globalThis.document = {
  hidden: false, getElementById: id => elements[id] ??= { style: {}, textContent: "" },
};
globalThis.location = { origin: "http://127.0.0.1:8080", pathname: "/", href: "http://a:b@c/" };
globalThis.fetch = async url => {
  done.asked.push(url);
  const [status, headers] = answers.shift();
  if (!status) throw new TypeError("Failed to fetch");
  return { status, ok: status < 300, headers: new Map(headers), json: async () => ({}) };
};
globalThis.setTimeout = (again, pause) => {
  done.pauses.push(pause);
  if (answers.length) again(); else end();
};
function end() {
  done.told = elements.gone.textContent;
  done.shown = elements.gone.style.display === "block";
  console.log(JSON.stringify(done));
}
process.on("beforeExit", () => { if (answers.length) { answers.length = 0; end(); } });
"""


def run_page(*answers):
    """Run the program until all is answered or it asks no more; return what it did."""
    program = re.search(r"<script>(.*)</script>", PAGE, re.DOTALL)[1]
    # What it draws is not looked at here.
    program = program.replace("function show(seen) {", "function show(seen) { return;", 1)
    done = subprocess.run(
        ["node", "-"], input=BROWSER.replace("ANSWERS", json.dumps(answers)) + program,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


pytestmark = pytest.mark.skipif(which("node") is None, reason="needs Node.js")


def test_it_looks_again_each_second_at_an_address_without_a_password_in_it():
    done = run_page([200, []], [200, []], [200, []])
    assert done["asked"] == ["http://127.0.0.1:8080/cluster"] * 3
    assert done["pauses"] == [1000] * 3
    assert not done["shown"]


def test_where_it_is_not_let_in_it_says_what_to_do_and_asks_no_more():
    """Each further try would have the browser ask its user once more."""
    done = run_page([200, []], [401, []], [200, []])
    assert len(done["asked"]) == 2
    assert done["shown"]
    assert "This page needs its password" in done["told"]
    assert "Reload the page to give it" in done["told"]


def test_where_too_many_passwords_were_wrong_it_waits_as_long_as_it_is_told():
    done = run_page([429, [["Retry-After", "6"]]])
    assert done["pauses"] == [6000]
    assert "too many wrong passwords" in done["told"]
    assert run_page([429, [["Retry-After", "6"]]], [200, []])["shown"] is False


def test_what_is_no_answer_is_told_and_tried_again():
    for answer, why in (([0, []], "Failed to fetch"), ([500, []], "status 500")):
        done = run_page(answer)
        assert "This node does not answer" in done["told"]
        assert why in done["told"]
        assert done["pauses"] == [1000]
