"""Opens stories in a browser without a display: scripts run, nothing is requested, keys work, the conflict is seen.

usage: browser_test.py MUTANT_REPRODUCE SCENARIO REPRODUCE SCENARIO

The first run fails with two accesses in conflict, and has stores that wait in buffers; the second is clean.
"""

import html
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

from fuzz.story import page

# What the browser asks for by itself.
_OWN = re.compile(r"(?:^|[./])(?:google|googleapis|gvt1|gstatic)\.com(?::443)?(?:/|$)|cup2key=")
# Runs before the page's own script, and behind it.
_BEFORE = """<script>
window.errors = [];
addEventListener("error", (event) => errors.push(event.message));
</script>"""
_BEHIND = """<script>
addEventListener("load", () => {
  const current = () => document.querySelector(".current") && document.querySelector(".current").id;
  const press = (key, target = document) =>
    target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const all = (selector) => [...document.querySelectorAll(selector)];
  const box = (node) => {
    const b = node.getBoundingClientRect();
    return [b.left, b.top, b.right, b.bottom].map(Math.round);
  };
  const told = { errors, start: current(), steps: {} };
  told.items = all(".item").length;
  told.marks = all(".first, .then, .both").map((node) => ({ classes: node.className, box: box(node),
    shown: node.checkVisibility(), text: node.textContent, border: getComputedStyle(node).borderTopWidth }));
  told.conflict = all("#conflict").map((node) => box(node));
  told.links = all("path.link[marker-end]").length;
  told.stale = all("rect.stale").length;
  told.off = all("rect.off").length;
  told.generations = all("rect.generation").length;
  for (const key of ["Home", "ArrowRight", "j", "ArrowLeft", "k", "ArrowDown", "ArrowUp", "End", "f", "t"]) {
    press(key);
    told.steps[key] = (told.steps[key] || []).concat([current()]);
  }
  told.states = ["Home", "End"].map((key) => { press(key); return document.getElementById("state").textContent; });
  const search = document.getElementById("search");
  search.value = "tlb_gen";
  search.dispatchEvent(new Event("input"));
  told.matches = all(".match").length;
  told.found = document.getElementById("found").textContent;
  press("Home");
  press("Enter", search);
  told.firstMatch = (document.querySelector(".current") || search).textContent;
  told.focus = document.activeElement.id;
  told.hash = location.hash;
  told.legend = document.getElementById("legend").textContent;
  told.warnings = document.getElementById("warnings").textContent;
  told.right = Math.max(...all(".heads div").map((node) => box(node)[2])) - box(document.getElementById("timeline"))[0];
  told.changed = all("#state .changed").length;
  const buttons = [...document.querySelectorAll("button")].map((button) => { button.click(); return current(); });
  told.buttons = buttons;
  told.overlaps = all(".item").filter((node, index, nodes) => nodes.slice(index + 1).some((other) => {
    const a = box(node), b = box(other);
    return a[0] < b[2] && b[0] < a[2] && a[1] + 1 < b[3] && b[1] + 1 < a[3];
  })).length;
  document.documentElement.setAttribute("data-told", JSON.stringify(told));
});
</script>"""


def record_of(program: str, scenario: str) -> dict:
    return json.loads(subprocess.run([program, "--json", scenario], stdout=subprocess.PIPE, check=False).stdout)


class BrowserTest(unittest.TestCase):
    failing: tuple[str, str]
    clean: tuple[str, str]

    def setUp(self):
        self.browser = shutil.which("chromium")
        self.assertIsNotNone(self.browser, "chromium is not installed; tools/setup installs it")
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))))

    def opened(self, text: str) -> dict:
        """What the page tells of itself, and what else was asked for: every address leads to this server."""
        served = text.replace("<head>", "<head>" + _BEFORE, 1).replace("</body>", _BEHIND + "</body>", 1).encode()
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if not self.path.endswith(("/story.html", "/favicon.ico")) and not _OWN.search(self.path):
                    asked.append(self.path)
                self.send_response(200 if self.path.endswith("/story.html") else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                if self.path.endswith("/story.html"):
                    self.wfile.write(served)

            do_CONNECT = do_POST = do_GET

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        run = subprocess.run(
            [self.browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={self.folder}/profile", "--window-size=1600,1000", "--disable-background-networking",
             f"--proxy-server={address}", "--proxy-bypass-list=<-loopback>", "--dump-dom",
             f"http://{address}/story.html"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100, check=False,
            env=os.environ | {"HOME": str(self.folder)})
        match = re.search(r'data-told="([^"]*)"', run.stdout)
        self.assertIsNotNone(match, run.stderr[-2000:])
        return json.loads(html.unescape(match[1])) | {"requests": asked}

    def test_a_failing_run(self):
        record = record_of(*self.failing)
        told = self.opened(page.page(record))
        last = len(record["items"]) - 1
        marked = {item["mark"]: index for index, item in enumerate(record["items"])
                  if item.get("mark") in ("first", "then")}
        self.assertEqual((told["errors"], told["requests"], told["items"], told["overlaps"]), ([], [], last + 1, 0))
        # It begins where it went wrong, and both accesses stand out without their colour.
        self.assertEqual(told["start"], f"item-{marked['then']}")
        self.assertEqual([mark["classes"].split()[2] for mark in told["marks"]], ["first", "then"])
        for mark in told["marks"]:
            self.assertTrue(mark["shown"] and mark["border"] == "2px", mark)
            self.assertRegex(mark["text"][1:], "^(first|then)")
        # The joining line runs from the one to the other.
        (left, top, right, bottom), = told["conflict"]
        first, then = (mark["box"] for mark in told["marks"])
        self.assertTrue(first[1] <= top + 4 and bottom - 4 <= then[3], told)
        self.assertGreater(right - left, 20)
        self.assertEqual(told["links"], len(record["links"]) + 3)  # and the legend's
        for shown in ("stale", "off", "generations"):
            self.assertGreater(told[shown], 1, shown)
        steps = {key: [int(name.removeprefix("item-")) for name in names] for key, names in told["steps"].items()}
        self.assertEqual([steps[key][0] for key in ("Home", "ArrowRight", "j", "ArrowLeft", "k")], [0, 1, 2, 1, 0])
        cpus = [item["cpu"] for item in record["items"]]
        self.assertEqual(steps["ArrowDown"][0], cpus.index(cpus[0], 1))
        self.assertEqual((steps["ArrowUp"], steps["End"], steps["f"], steps["t"]),
                         ([0], [last], [marked["first"]], [marked["then"]]))
        self.assertNotEqual(*told["states"])
        wanted = [item for item in record["items"] if "tlb_gen" in json.dumps([item["text"], item.get("notes")])]
        self.assertEqual((told["matches"], told["found"]), (len(wanted), f"{len(wanted)} found"))
        self.assertIn("tlb_gen", told["firstMatch"])
        # The keys work again, and the address is that of the step.
        self.assertEqual(told["focus"], "timeline")
        self.assertEqual(told["hash"].split(".")[0], f"#{wanted[0]['step']}")
        self.assertIn("the two accesses in conflict", told["legend"])
        self.assertEqual(told["warnings"], "")
        self.assertEqual([name.removeprefix("item-") for name in told["buttons"][2:]],
                         [str(marked["first"]), str(marked["then"])])

    def test_a_clean_run(self):
        record = record_of(*self.clean)
        told = self.opened(page.page(record))
        self.assertEqual((told["errors"], told["requests"], told["marks"], told["conflict"], told["start"]),
                         ([], [], [], [], "item-0"))

    def test_a_conflict_with_one_known_event_promises_no_arrow(self):
        record = record_of(*self.failing)
        for item in record["items"]:
            if item.get("mark") == "first":
                del item["mark"]
        told = self.opened(page.page(record))
        self.assertEqual(told["conflict"], [])
        self.assertNotIn("the two accesses in conflict", told["legend"])
        self.assertIn("only one event is known, marked 'then'", told["warnings"])

    def test_what_did_nothing_is_told(self):
        scenario = self.folder / "scenario.txt"
        scenario.write_text("shootdown-scenario 1\nconfig cpus=2 mms=1\nat +200: preempt cpu=0\n")
        told = self.opened(page.page(record_of(self.clean[0], str(scenario))))
        self.assertIn("no operation: nothing was done", told["warnings"])
        self.assertIn("preempt cpu=0' did nothing: its moment never came", told["warnings"])

    def test_paper_has_all_cpus(self):
        scenario = self.folder / "scenario.txt"
        scenario.write_text("shootdown-scenario 1\nconfig cpus=8 mms=1\ncpu 7: read page=1\n")
        text = page.page(record_of(self.clean[0], str(scenario)))
        self.assertGreater(self.opened(text)["right"], 2000)
        self.assertLess(self.opened(text.replace("@media print", "@media screen"))["right"], 1000)

    def test_a_script_that_fails_is_seen(self):
        text = page.page(record_of(*self.clean))
        told = self.opened(text.replace("const items = ", "nothing(); const items = ", 1))
        self.assertIn("nothing is not defined", "".join(told["errors"]))

    def test_a_request_is_seen(self):
        for source in ("gone.png", "http://example.com/gone.png"):
            text = page.page(record_of(*self.clean)).replace("<footer>", f'<img src="{source}" alt=""><footer>')
            self.assertEqual([path.rpartition("/")[2] for path in self.opened(text)["requests"]], ["gone.png"])

    def test_the_file_refers_to_nothing(self):
        text = page.page(record_of(*self.failing))
        self.assertEqual(re.findall(r"(?:src|href)=|url\((?!#)|@import|https?://(?!www\.w3\.org/2000/svg)", text), [])

    def test_what_a_scenario_says_is_no_markup(self):
        record = record_of(*self.clean) | {"file": "</script><script>nothing()</script>"}
        told = self.opened(page.page(record))
        self.assertEqual(told["errors"], [])

    def test_it_prints(self):
        file, paper = self.folder / "story.html", self.folder / "story.pdf"
        file.write_text(page.page(record_of(*self.failing)))
        subprocess.run([self.browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                        f"--user-data-dir={self.folder}/profile", f"--print-to-pdf={paper}", file.as_uri()],
                       stderr=subprocess.DEVNULL, env=os.environ | {"HOME": str(self.folder)}, timeout=100, check=True)
        self.assertTrue(paper.read_bytes().startswith(b"%PDF"))
        # More than the part that a window shows.
        self.assertGreater(paper.read_bytes().count(b"/Type /Page\n") + paper.read_bytes().count(b"/Type /Page "), 1)


if __name__ == "__main__":
    BrowserTest.failing = (os.path.abspath(sys.argv[1]), sys.argv[2])
    BrowserTest.clean = (os.path.abspath(sys.argv[3]), sys.argv[4])
    del sys.argv[1:]
    unittest.main()
