/** Runs before anything is drawn: the colours and the language chosen here, so that neither flashes. */
try {
  const root = document.documentElement;
  const theme = localStorage.getItem("chatwright.theme");
  if (theme === "light" || theme === "dark") root.dataset["theme"] = theme;
  if (localStorage.getItem("chatwright.language") === "zh") root.lang = "zh-CN";
} catch {
  // No storage: the system's colours.
}
