"use strict";
// Asks for a key, fetches the page of a script with it, and calls the script. The key stays in this function: it is written nowhere,
// and goes with the page. What comes from the service is shown as text; only the page itself is markup, which the service has escaped.
(() => {
  const ROWS_MAX = 1000;
  const CHARACTERS_MAX = 200000;
  const unchanged = {createHTML: (text) => text};
  const policy = window.trustedTypes ? window.trustedTypes.createPolicy("page", unchanged) : unchanged;
  let key = "";

  const find = (id) => document.getElementById(id);
  const say = (text) => { (find("told") ?? find("said")).textContent = text; };

  const element = (name, text) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function ask(address, given) {
    return fetch(address, {
      ...given,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      headers: {...given.headers, Authorization: `Bearer ${key}`},
    });
  }

  // A problem in sentences: what is wrong, with which field, and the script's own error.
  async function problemOf(answer) {
    let told;
    try {
      told = await answer.json();
    } catch {
      return `The service answered ${answer.status}.`;
    }
    const fields = (told.errors ?? []).map((one) => `${one.pointer}: ${one.detail}`);
    return [`${told.title}: ${told.detail}`, ...fields, told.error?.traceback].filter(Boolean).join("\n");
  }

  async function guarded(work) {
    try {
      await work();
    } catch (error) {
      say(`It cannot be done: ${error.message}`);
    }
  }

  async function open(address) {
    const answer = await ask(address, {headers: {Accept: "text/html"}});
    if (!answer.ok) {
      say(await problemOf(answer));
      return;
    }
    const page = new DOMParser().parseFromString(policy.createHTML(await answer.text()), "text/html");
    document.title = page.title;
    find("page").replaceWith(document.adoptNode(page.getElementById("page")));
    find("said").textContent = "";
    find("try").hidden = false;
    find("idle").hidden = true;
    find("try").addEventListener("submit", (event) => {
      event.preventDefault();
      guarded(call);
    });
    if (find("format")) prepareTable(find("format"));
  }

  function prepareTable(format) {
    const chosen = () => format.options[format.selectedIndex];
    format.addEventListener("change", () => {
      const examples = [...format.options].map((option) => option.dataset.example);
      const rows = find("rows");
      if (chosen().dataset.example !== undefined && examples.includes(rows.value)) rows.value = chosen().dataset.example;
    });
    find("file").addEventListener("change", () => {
      const name = find("file").files[0]?.name.toLowerCase() ?? "";
      const known = [...format.options].find((option) => option.dataset.endings.split(" ").some((ending) => name.endsWith(ending)));
      if (name && known) format.value = known.value;
    });
  }

  async function call() {
    const form = find("try");
    const address = new URL(form.dataset.address, location.href);
    for (const field of form.querySelectorAll("[data-parameter]")) {
      if (field.value !== "") address.searchParams.append(field.dataset.parameter, field.value);
    }
    const given = {method: "POST", headers: {Accept: find("accept").value}};
    if (form.dataset.table === "yes") {
      given.headers["Content-Type"] = find("format").value;
      given.body = find("file").files[0] ?? find("rows").value;
    }
    find("answer").replaceChildren();
    find("call").disabled = true;
    say("It runs.");
    try {
      const answer = await ask(address, given);
      if (answer.ok) show(await answer.text(), find("accept").value);
      say(answer.ok ? `Answered by ${answer.headers.get("Fumehood-Script") ?? "the script"}.` : await problemOf(answer));
    } finally {
      find("call").disabled = false;
    }
  }

  function show(text, media) {
    const cut = text.length > CHARACTERS_MAX ? `${text.slice(0, CHARACTERS_MAX)}…` : text;
    find("answer").replaceChildren(...(media === "application/json" ? [tableOf(JSON.parse(text))] : []), element("pre", cut));
  }

  function tableOf(records) {
    const table = element("table");
    const shown = records.slice(0, ROWS_MAX);
    const names = [...new Set(shown.flatMap((record) => Object.keys(record)))];
    const head = table.createTHead().insertRow();
    head.append(...names.map((name) => element("th", name)));
    const body = table.createTBody();
    for (const record of shown) {
      body.insertRow().append(...names.map((name) => element("td", textOf(record[name]))));
    }
    if (records.length > shown.length) table.createCaption().textContent = `The first ${ROWS_MAX} of ${records.length} rows.`;
    return table;
  }

  const textOf = (value) => (typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value));

  find("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    key = find("secret").value.trim();
    guarded(() => open(location.href));
  });
  // Another version or alias of the script: the key is still here.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="?"]');
    if (!link || !key || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", link.href);
    guarded(() => open(location.href));
  });
  window.addEventListener("popstate", () => {
    if (key) guarded(() => open(location.href));
  });
})();
