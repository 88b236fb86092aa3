// A plain script, run before the first paint: a module would come after it and flash the other colours.
(() => {
  const ORDER = ["system", "light", "dark"];
  const LABELS = { system: "follow the system", light: "light", dark: "dark" };
  let theme = stored();
  show();
  document.addEventListener("DOMContentLoaded", connect);

  function stored() {
    try {
      const value = localStorage.getItem("theme");
      return ORDER.includes(value) ? value : "system";
    } catch {
      return "system"; // storage can be switched off
    }
  }

  function store() {
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // Without storage it lasts as long as the page.
    }
  }

  function show() {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }

  function connect() {
    const button = document.getElementById("theme");
    const label = () => {
      button.setAttribute("aria-label", `Colours: ${LABELS[theme]}`);
      button.title = `Colours: ${LABELS[theme]}`;
    };
    label();
    button.addEventListener("click", () => {
      theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
      show();
      label();
      store();
    });
  }
})();
