// @ts-check
// Runs before the first paint, so that nobody sees the other theme flash by.
(function () {
  var theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch (e) {
    /* storage may be switched off */
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
