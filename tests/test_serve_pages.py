"""The live pages in a real browser: by keyboard alone, as runs go on, with hostile text, at two widths."""

from __future__ import annotations

import shutil
from threading import Event
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from live import record, serving, write
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

import sirl
from sirl.rundir import RECORDS, STEPS
from sirl.serve import Playground
from sirl.workflows.speaking import speaker

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EVIL = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>\x1b[2Jend'
SHOWN = EVIL.replace("\x1b", "\ufffd")
TRAINING = ("train.steps=2", "train.prompts_per_step=4", "train.micro_batch=4", "train.save_every=2")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    own = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=own)
        except Error as error:
            pytest.skip(
                f"no browser of {', '.join(BROWSERS)} or playwright's own: {error.message.splitlines()[0]}"
            )
        yield browser
        browser.close()


@pytest.fixture
def wrong():
    """What a page complains about, and what it asks of another host."""
    return []


@pytest.fixture
def page(browser: Browser, wrong: list[str]):
    """A page that may ask its own server alone; what is wrong with it fails the test."""
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
    page.on("request", lambda asked: asked.url.startswith("http://127.0.0.1:") or wrong.append(asked.url))
    yield page
    assert wrong == []
    page.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The embedded model, trained for two steps, and measured before and after."""
    folder = tmp_path_factory.mktemp("pages")
    trained = sirl.train("organism:llama", out=folder / "train", method="sft", settings=TRAINING)
    few, short = sirl.PromptSources(limit=3), ["evaluate.max_reply_tokens=24"]
    for name, model in (("before", "organism:llama"), ("after", trained.model)):
        sirl.evaluate(model, few, out=folder / name, attacks="direct,aim", settings=short)
    with serving(folder, Playground((), speaker)) as served:
        yield served


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is on what a selector names."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def test_all_of_it_by_keyboard(page, served):
    runs = served.runs()
    page.goto(served.url)
    expect(page.locator("#state")).to_have_text("3 runs, 0 not finished.")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for name in ("before", "after"):
        tab_to(page, f"input[value='{runs[name]['id']}']")
        page.keyboard.press("Space")
    tab_to(page, "input[name=different]")
    tab_to(page, "#choose button")
    page.keyboard.press("Enter")
    expect(page.locator("h1.judged")).to_contain_text("ailbreak")
    page.go_back()
    tab_to(page, f"a[href='/runs/{runs['after']['id']}']")
    page.keyboard.press("Enter")
    expect(page.locator("#far")).to_contain_text("finished")
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(10)
    expect(page.locator("#drawings figure svg[role=img]").first).to_be_visible()
    tab_to(page, "select[name=kind]")
    page.keyboard.type("harmful")
    tab_to(page, "#filter button")
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_have_text("1–6 of 6 replies.")
    shades = page.locator("#rows .t").evaluate_all(
        "all => all.map(t => [t.title, t.style.getPropertyValue('--e')])"
    )
    assert len(shades) > 10
    tops = [float(title.split()[0]) for title, _ in shades]
    most = float(page.locator("#top").inner_text())
    for nats, (_, shade) in zip(tops, shades, strict=True):
        assert abs(float(shade) - min(1.0, nats / most)) < 0.02
    dark = page.locator("#rows .t").evaluate_all(
        "all => new Set(all.map(t => getComputedStyle(t).backgroundColor)).size"
    )
    assert dark > 3
    tab_to(page, "#rows a")
    page.keyboard.press("Enter")
    expect(page.locator("textarea")).not_to_have_value("")
    expect(page.locator("select[name=first] option")).to_have_text(
        ["organism:llama", "train: organism:llama hardened"]
    )
    tab_to(page, "select[name=attack]")
    page.keyboard.type("aim")
    tab_to(page, "select[name=defence]")
    page.keyboard.type("self_reminder")
    tab_to(page, "#ask button")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("2 of 2 replied.", timeout=60_000)
    expect(page.locator("#replies .reply")).to_have_count(2)
    assert all(reply.locator(".t").count() > 2 for reply in page.locator("#replies .reply").all())
    sent = page.locator("#replies pre").first.text_content()
    assert len(sent) > len(page.locator("textarea").input_value()) + 100  # the attack around it
    expect(page.locator("#replies .reply").first).to_contain_text("1 call of models")


def test_no_finding_of_axe_and_no_sideways_scroll(browser, served):
    identity = {run["name"]: run["id"] for run in served.runs().values()}
    places = (
        "/",
        f"/runs/{identity['train']}",
        f"/runs/{identity['after']}",
        "/playground",
        "/report?run=" + identity["train"],
    )
    for place in places:
        page = browser.new_page()
        page.goto(served.url + place)
        page.wait_for_function(
            "() => !document.querySelector('main script') && document.querySelectorAll('main *').length > 12"
        )
        if place.endswith(identity["after"]):
            page.locator("#rows details").first.wait_for()
            page.locator("#rows details summary").first.click()
        for width, scheme in ((400, "light"), (1600, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page).response["violations"]
            grave = [(f["id"], f["nodes"][0]["html"]) for f in found if f["impact"] in ("serious", "critical")]
            assert grave == [], (place, width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (place, width)
        page.close()


def test_pages_move_with_the_runs(page, tmp_path):
    train = write(tmp_path / "train", "train", train={"steps": 3})
    train.append(STEPS, [{"step": 1, "reward": -0.5}])
    with serving(tmp_path) as served:
        page.goto(served.url)
        far = page.locator(".far").first
        expect(far).to_have_text("1 of 3 steps")
        train.append(STEPS, [{"step": 2, "reward": -0.4}])
        expect(far).to_have_text("2 of 3 steps")
        run = write(tmp_path / "gap", "gap", [record("h0", harmful=True)])
        run.expect(RECORDS, 2)
        expect(page.locator("#state")).to_have_text("2 runs, 2 not finished.")
        page.locator("a", has_text="train").click()
        curve = page.locator("#drawings path.curve")
        before = curve.get_attribute("d")
        train.append(STEPS, [{"step": 3, "reward": -0.1}])
        expect(curve).not_to_have_attribute("d", before)
        expect(page.locator("#latest")).to_have_text("reward −0.1")
        page.goto(f"{served.url}/runs/{served.runs()['gap']['id']}")
        expect(page.locator("#drawings figure")).to_contain_text("0 of 1")
        run.append_records([record("h1", harmful=False, refused=True)])
        expect(page.locator("#drawings figure")).to_contain_text("1 of 2")
        run.write_summary({})
        expect(page.locator("#far")).to_contain_text("2 of 2 replies · finished")
        page.goto("about:blank")


def test_hostile_text_is_text(page, wrong, tmp_path):
    hostile = record(EVIL, EVIL, EVIL, harmful=False, refused=True)
    write(tmp_path / "run", "evaluate", [hostile], model=EVIL)
    asked = Event()

    def speak(ask):
        asked.set()
        return record(ask.prompt, EVIL, EVIL).completion

    with serving(tmp_path, Playground((EVIL,), lambda _: speak)) as served:
        page.goto(served.url)
        expect(page.locator(".body").first).to_contain_text(SHOWN)
        page.goto(f"{served.url}/runs/{served.runs()['run']['id']}")
        expect(page.locator("#rows .said")).to_have_text(SHOWN)
        expect(page.locator("#rows code").first).to_have_text(SHOWN)
        expect(page.locator("#drawings svg")).to_contain_text("<img")
        page.goto(f"{served.url}/playground#{quote(EVIL)}")
        page.locator("#ask button").click()
        expect(page.locator("#replies .said")).to_have_text(SHOWN)
        assert asked.is_set()
        for frame in ("document.querySelectorAll('main img, main script').length", "window.hurt"):
            assert page.evaluate(frame) in (0, None)
        # Even a script that got onto a page would not run: the policy allows this server's files alone.
        page.evaluate(
            "document.body.append(document.createRange().createContextualFragment('<script>window.hurt=1</script>'))"
        )
        assert page.evaluate("window.hurt") is None
        assert "Content Security Policy" in wrong.pop()
        page.goto("about:blank")


def test_a_server_without_models_says_so(page, tmp_path):
    with serving(tmp_path) as served:
        page.goto(f"{served.url}/playground")
        expect(page.locator("#none")).to_be_visible()
        expect(page.locator("#ask button")).to_be_disabled()
        page.goto(served.url)
        expect(page.locator("#state")).to_have_text("No run yet.")
        page.goto("about:blank")
