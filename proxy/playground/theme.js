// A plain script, run before the first paint: a module would come after it and flash the other colours.
(() => {
  const ORDER = ["system", "light", "dark"];
  const SAID = { system: "follow the system", light: "light", dark: "dark" };
  const root = document.documentElement;

  function stored() {
    try {
      const value = localStorage.getItem("theme");
      return ORDER.includes(value) ? value : "system";
    } catch {
      return "system"; // storage can be switched off
    }
  }

  function show(theme) {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
  }

  let theme = stored();
  show(theme);

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => {
      button.setAttribute("aria-label", `Colours: ${SAID[theme]}`);
      button.title = `Colours: ${SAID[theme]}`;
    };
    label();
    button.addEventListener("click", () => {
      theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
      show(theme);
      label();
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // It lasts as long as the page, then.
      }
    });
  });
})();
