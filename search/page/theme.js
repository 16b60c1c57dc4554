// Colours: those of the system, light, or dark. Runs before the page is drawn, so that none flash.
(() => {
  "use strict";

  const CHOICES = ["auto", "light", "dark"];
  const KEY = "sextant-theme";

  const kept = () => {
    try {
      const choice = localStorage.getItem(KEY);
      return CHOICES.includes(choice) ? choice : "auto";
    } catch {
      return "auto"; // the browser keeps nothing
    }
  };

  const apply = (choice) => {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (!button) return;
    const words = choice === "auto" ? "Colours: as the system's" : `Colours: ${choice}`;
    button.setAttribute("aria-label", words);
    button.title = words;
  };

  let choice = kept();
  apply(choice);
  document.addEventListener("DOMContentLoaded", () => {
    apply(choice);
    document.getElementById("theme").addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      apply(choice);
      try {
        localStorage.setItem(KEY, choice);
      } catch {
        // it holds until the page is closed
      }
    });
  });
})();
