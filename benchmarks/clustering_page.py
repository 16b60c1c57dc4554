"""How long the clustering report's page takes to open, in headless Chromium.

Driven by selenium over the chromedriver that a distribution packages beside its Chromium. Where
either is missing, nothing is measured, and the result says so.
"""

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
DRIVER: Final = "chromedriver"
OPENINGS: Final = 3
"""The page is opened so often, in a browser started anew; the median is told."""
PATIENCE: Final = 120.0
"""Seconds until a page is given up that does not draw its map."""
ZOOM_STEPS: Final = 10

_DRAWN: Final = """
const done = arguments[arguments.length - 1];
const look = () => document.documentElement.dataset.map
  ? done([document.documentElement.dataset.map, performance.now()])
  : setTimeout(look, 5);
look();
"""
_LOADED: Final = "return performance.getEntriesByType('navigation')[0].loadEventEnd;"
_ZOOM: Final = """
const done = arguments[arguments.length - 1];
const steps = arguments[0];
(async () => {
  const began = performance.now();
  for (let i = 0; i < steps; i += 1) {
    document.getElementById("zoom-in").click();
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
  }
  done((performance.now() - began) / steps);
})();
"""
_HEAP: Final = "return performance.memory ? performance.memory.usedJSHeapSize : 0;"


def find_browser() -> tuple[str, str] | None:
    """Chromium and its driver; None: one of them is missing."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which(DRIVER)
    return (browser, driver) if browser and driver else None


def browser_version() -> str | None:
    """What the browser calls itself; None: there is none."""
    found = find_browser()
    if found is None:
        return None
    done = subprocess.run(  # noqa: S603
        [found[0], "--version"], capture_output=True, text=True, check=True
    )
    return " ".join(done.stdout.split()[:2])


def open_page(page: Path) -> dict[str, Any]:
    """Seconds from navigation to the load event, and to the map drawn; then zooming, and the heap.

    The map is looked for after the load event, so that one drawn by then counts as drawn then.
    Without Chromium a dictionary with `not_measured`, which says why.

    Raises:
        RuntimeError: the map was not drawn.
    """
    found = find_browser()
    if found is None:
        return {"not_measured": f"no {BROWSERS[0]} with {DRIVER} on this machine"}
    openings = [_open_once(page, *found) for _ in range(OPENINGS)]
    return {
        "openings": OPENINGS,
        "loaded_seconds": _median(openings, "loaded", 2),
        "drawn_seconds": _median(openings, "drawn", 2),
        "zoom_step_ms": _median(openings, "zoom", 1),
        "heap_mb": _median(openings, "heap", 1),
    }


def _median(openings: list[dict[str, float]], name: str, digits: int) -> float:
    return round(statistics.median(one[name] for one in openings), digits)


def _open_once(page: Path, browser: str, driver: str) -> dict[str, float]:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = browser
    with tempfile.TemporaryDirectory(prefix="sextant-chromium-") as profile:
        for argument in (
            *("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"),
            *("disable-background-networking", "window-size=1280,900", f"user-data-dir={profile}"),
        ):
            options.add_argument(f"--{argument}")
        view = Chrome(options=options, service=Service(executable_path=driver))
        try:
            view.set_script_timeout(PATIENCE)
            view.get(page.resolve().as_uri())
            state, drawn = view.execute_async_script(_DRAWN)
            if state != "drawn":
                raise RuntimeError(f"{page}: the map is {state!r}; expected 'drawn'")
            loaded = view.execute_script(_LOADED)
            heap = view.execute_script(_HEAP)
            zoom = view.execute_async_script(_ZOOM, ZOOM_STEPS)
        finally:
            view.quit()
    return {
        "loaded": loaded / 1000,
        "drawn": drawn / 1000,
        "zoom": zoom,
        "heap": heap / 1e6,
    }
