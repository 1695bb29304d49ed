// What htmx does not do: show progress, submit a form only once, keep what was typed. Pages work without it.
"use strict";

const SLOW = 600; // ms until the page says that the server has not answered yet
const RESUBMIT = 20000; // ms until a form that did not leave the page, such as a download, may be sent again
const pending = new Map(); // waiting for an answer: the button, or the form if it has none → its timer

const show = (id, text) => {
  const box = document.getElementById(id);
  if (!box || box.textContent === text) return; // a screen reader does not repeat the same message
  box.textContent = text;
  box.hidden = id === "toast" && !text;
};

const toast = (text) => show("toast", text);

// A busy button keeps the focus; `disabled` would take it away.
const begin = (element) => {
  element.setAttribute("aria-busy", "true");
  element.setAttribute("aria-disabled", "true");
  clearTimeout(pending.get(element));
  pending.set(element, setTimeout(() => show("working", "Working … the server has not answered yet."), SLOW));
};

const end = (element) => {
  if (!pending.has(element)) return;
  element.removeAttribute("aria-busy");
  element.removeAttribute("aria-disabled");
  clearTimeout(pending.get(element));
  pending.delete(element);
  if (!pending.size) show("working", "");
};

const sender = (form, button) => button || form.querySelector("button:not([type=button])") || form;

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.getAttribute("method") !== "post") return;
  const submitter = sender(form, event.submitter);
  if (form.dataset.sent) {
    event.preventDefault();
    event.stopImmediatePropagation();
    return;
  }
  form.dataset.sent = "yes";
  begin(submitter);
  setTimeout(() => { delete form.dataset.sent; end(submitter); }, RESUBMIT);
}, true);

window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  for (const element of [...pending.keys()]) end(element);
});

document.addEventListener("htmx:before:request", (event) => {
  const source = event.detail.ctx.sourceElement;
  if (source.matches("button")) begin(source);
});

document.addEventListener("htmx:finally:request", (event) => {
  const source = event.detail.ctx.sourceElement;
  delete source.dataset.sent;
  for (const element of [...pending.keys()]) {
    if (element === source || source.contains(element) || !element.isConnected) end(element);
  }
});

// Text typed while htmx replaces a fragment is restored, with its selection.
let typing = null;
document.addEventListener("htmx:before:swap", () => {
  const field = document.activeElement;
  const typed = field && field.id && field.matches("input:not([type=password], [type=checkbox], [type=radio]), textarea");
  typing = typed ? { field, id: field.id, value: field.value, start: field.selectionStart, end: field.selectionEnd } : null;
});

document.addEventListener("htmx:after:swap", () => {
  toast("");
  const now = typing && document.getElementById(typing.id);
  if (!now || now === typing.field || document.activeElement !== now) return;
  now.value = typing.value;
  if (typing.start !== null) now.setSelectionRange(typing.start, typing.end);
});

const isTyped = (field) => field.type === "checkbox" || field.type === "radio" ? field.checked !== field.defaultChecked
  : field.tagName === "SELECT" ? [...field.options].some((option) => option.selected !== option.defaultSelected)
  : field.type !== "hidden" && field.value !== field.defaultValue;

// A step of htmx that needs your password asks for it in place: what is typed stays, and is sent once more.
const confirmFirst = async (page, source) => {
  const box = document.createElement("dialog");
  const ask = (address, more) => fetch(address, { ...more, headers: { "HX-Request": "true" } });
  const show = async (answer) => {
    box.innerHTML = await answer.text();
    box.querySelector("input[type=password]")?.focus();
  };
  const asked = await ask(page);
  if (asked.headers.has("HX-Redirect")) return location.assign(asked.headers.get("HX-Redirect"));
  await show(asked);
  box.setAttribute("aria-label", "Confirm it is you");
  document.body.append(box);
  box.showModal();
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => {
    if (!event.target.matches("a.button")) return;
    event.preventDefault();
    box.close();
  });
  box.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = new FormData(event.target);
    fields.delete("form"); // it is sent once more from here
    const answer = await ask(event.target.action, { method: "POST", body: new URLSearchParams(fields) });
    end(sender(event.target, event.submitter));
    const next = answer.headers.get("HX-Redirect");
    if (!next) return show(answer);
    if (new URL(next, location).pathname.endsWith("/login")) return location.assign(next);
    box.close();
    if (source.matches("form")) source.requestSubmit(); else source.click();
  });
};

document.addEventListener("htmx:after:request", (event) => {
  // A form that was out of date gets the current token.
  const token = event.detail.ctx.response?.headers.get("X-CSRFToken");
  if (token) for (const field of document.querySelectorAll("input[name=csrf_token]")) field.value = token;
  // An ended session redirects to the sign-in page, unless something typed here would be lost.
  const target = event.detail.ctx.hx?.redirect;
  if (target && new URL(target, location).pathname.endsWith("/confirm")) {
    event.preventDefault();
    confirmFirst(target, event.detail.ctx.sourceElement);
  }
  if (!target || !new URL(target, location).pathname.endsWith("/login")) return;
  if (![...document.querySelectorAll("main input, main select, main textarea")].some(isTyped)) return;
  event.preventDefault();
  toast("Your session has ended. Sign in in another tab, then continue here: what you typed stays.");
});

document.addEventListener("htmx:response:error", (event) => {
  const status = event.detail.ctx.response.status;
  if (status >= 500) toast("The server reported an error (" + status + "). Try again, or see the server's log.");
});

document.addEventListener("htmx:error", () => {
  toast("The server cannot be reached. Check the connection, then reload this page.");
});

// Copy buttons, which only a script can serve.
const offerCopy = (root) => {
  for (const box of root.querySelectorAll(".command:not(:has(> button))")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(box.querySelector("pre").textContent);
        button.textContent = "Copied";
      } catch { // not allowed without HTTPS: select the text instead
        getSelection().selectAllChildren(box.querySelector("pre"));
        button.textContent = "Press Ctrl+C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 3000);
    });
    box.append(button);
  }
};

// A command that stays the same keeps its button where the server sends that part of the page again.
const commandIn = (node) => node.querySelector("pre")?.textContent;
window.htmx?.registerExtension("command", {
  htmx_before_morph_node: (old, { newNode }) => !(old.matches?.(".command") && commandIn(old) === commandIn(newNode)),
});

// Toasts: good news leaves after a while, unless the pointer or the focus is on it; the rest stays until closed.
const TOAST = 6000;
const serveToasts = (root) => {
  for (const box of root.querySelectorAll(".toast:not(:has(> .close))")) {
    const close = document.createElement("button");
    close.type = "button";
    close.className = "link close";
    close.setAttribute("aria-label", "Close");
    close.textContent = "×";
    close.addEventListener("click", () => box.remove());
    box.append(close);
    if (!box.matches(".good")) continue;
    let timer = setTimeout(() => box.remove(), TOAST);
    const stay = () => clearTimeout(timer);
    const leave = () => { stay(); timer = setTimeout(() => box.remove(), TOAST); };
    box.addEventListener("mouseenter", stay);
    box.addEventListener("focusin", stay);
    box.addEventListener("mouseleave", leave);
    box.addEventListener("focusout", leave);
  }
};

// A new password is typed once, so it can be shown.
const offerShow = (root) => {
  for (const field of root.querySelectorAll(".field:not(:has(> .show)) > input[type=password][autocomplete=new-password]")) {
    const button = document.createElement("button");
    const show = (shown) => { field.type = shown ? "text" : "password"; button.textContent = shown ? "Hide" : "Show"; };
    button.type = "button";
    button.className = "link show";
    button.addEventListener("click", () => show(field.type === "password"));
    field.form.addEventListener("submit", () => show(false)); // browsers remember what is typed as text
    show(false);
    field.after(button);
  }
};

const serve = () => { offerCopy(document); offerShow(document); serveToasts(document); };
serve();
document.addEventListener("htmx:after:swap", serve);

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// A list: one box for all rows of the page; a row whose menu is open is not replaced meanwhile.
for (const head of document.querySelectorAll("form .rows th.pick")) {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.setAttribute("aria-label", "Select all on this page");
  box.addEventListener("change", () => { for (const each of head.closest("table").querySelectorAll("td.pick input")) each.checked = box.checked; });
  head.replaceChildren(box);
}

document.addEventListener("htmx:before:request", (event) => {
  if (event.detail.ctx.sourceElement.id === "poll" && document.querySelector(".rows .menu[open]")) event.preventDefault();
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// The form of a mailbox. The usual port follows protocol and security; what was found for another address goes.
const USUAL = { imap: { tls: 993, starttls: 143, none: 143 }, pop3: { tls: 995, starttls: 110, none: 110 }, smtp: { tls: 465, starttls: 587, none: 25 } };
const USUAL_PORTS = Object.values(USUAL).flatMap((ports) => Object.values(ports).map(String));

const followPort = (form, prefix) => {
  const { port, security } = { port: form.elements[prefix + "port"], security: form.elements[prefix + "security"] };
  const protocol = prefix ? "smtp" : form.elements.protocol?.value ?? "smtp";
  if (!port.dataset.typed && USUAL_PORTS.includes(port.value)) port.value = "";
  port.placeholder = USUAL[protocol]?.[security.value] ?? "";
};

const forgetFound = (form) => {
  const found = form.elements.found_for;
  if (!found?.value || found.value.toLowerCase() === form.elements.address.value.trim().toLowerCase()) return;
  found.value = "";
  for (const name of ["host", "port", "username", "sending-host", "sending-port", "sending-username"]) {
    const field = form.elements[name];
    if (!field.dataset.typed) field.value = "";
  }
  const provider = [...form.elements.provider];
  if (!provider.some((radio) => radio.dataset.typed)) form.elements.provider.value = "other";
  document.getElementById("found").textContent = "Those settings were for another address.";
};

document.addEventListener("input", ({ target }) => {
  target.dataset.typed = "yes";
  target.removeAttribute("aria-invalid");
});

document.addEventListener("change", ({ target }) => {
  const form = target.form;
  if (!form?.elements.security) return;
  if (/(protocol|security)$/.test(target.name)) followPort(form, target.name.startsWith("sending-") ? "sending-" : "");
  if (target.name === "address") forgetFound(form);
  if (target.name !== "protocol") return;
  for (const radio of form.querySelectorAll(".check > :checked[type=radio]")) { // what the protocol cannot do
    if (getComputedStyle(radio.parentElement).display === "none") form.elements[radio.name][0].checked = true;
  }
});

// Enter adds or saves; in the address it looks for the settings.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("#mailbox input:not([name=address])")) return;
  event.preventDefault();
  event.target.form.querySelector(".button.primary").click();
});

// What is wrong stands beside the form, which htmx leaves as it is: mark the fields, until they are changed.
document.addEventListener("htmx:after:swap", () => {
  for (const field of document.querySelectorAll("#mailbox [aria-invalid]")) field.removeAttribute("aria-invalid");
  for (const link of document.querySelectorAll("#test .problem a")) {
    document.querySelector(link.hash)?.setAttribute("aria-invalid", "true");
  }
  const next = document.querySelector("#test [data-go]");
  if (next) location.assign(next.href);
});
