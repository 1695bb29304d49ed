// What htmx leaves to us: to say what goes on, and to send once. Everything works without this file.
"use strict";

const LATE = 600; // ms until it is said in words that an answer is waited for
const GIVEN_UP = 20000; // ms until a form that led nowhere, such as a download, may be sent again
const at = new Map(); // what is waited for: the button, or the form where it has none → its timer

const say = (id, text) => {
  const box = document.getElementById(id);
  if (!box || box.textContent === text) return; // what is said again is not read out again
  box.textContent = text;
  box.hidden = id === "toast" && !text;
};

const toast = (text) => say("toast", text);

// A button that is at work says so and keeps the focus; `disabled` would take it away.
const begin = (asked) => {
  asked.setAttribute("aria-busy", "true");
  asked.setAttribute("aria-disabled", "true");
  clearTimeout(at.get(asked));
  at.set(asked, setTimeout(() => say("working", "Working … the server has not answered yet."), LATE));
};

const end = (asked) => {
  if (!at.has(asked)) return;
  asked.removeAttribute("aria-busy");
  asked.removeAttribute("aria-disabled");
  clearTimeout(at.get(asked));
  at.delete(asked);
  if (!at.size) say("working", "");
};

const sender = (form, button) => button || form.querySelector("button:not([type=button])") || form;

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.getAttribute("method") !== "post") return;
  const asked = sender(form, event.submitter);
  if (form.dataset.sent) {
    event.preventDefault();
    event.stopImmediatePropagation();
    return;
  }
  form.dataset.sent = "yes";
  begin(asked);
  setTimeout(() => { delete form.dataset.sent; end(asked); }, GIVEN_UP);
}, true);

window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  for (const asked of [...at.keys()]) end(asked);
});

document.addEventListener("htmx:before:request", (event) => {
  const source = event.detail.ctx.sourceElement;
  if (source.matches("button")) begin(source);
});

document.addEventListener("htmx:finally:request", (event) => {
  const source = event.detail.ctx.sourceElement;
  delete source.dataset.sent;
  for (const asked of [...at.keys()]) if (asked === source || source.contains(asked) || !asked.isConnected) end(asked);
});

// What somebody types while a fragment is replaced stays: htmx gives the caret back, this the text.
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

document.addEventListener("htmx:after:request", (event) => {
  // A form that was out of date is told the token that holds now.
  const token = event.detail.ctx.response?.headers.get("X-CSRFToken");
  if (token) for (const field of document.querySelectorAll("input[name=csrf_token]")) field.value = token;
  // A session that ended leads to the sign-in page, unless something would be lost here.
  const leads = event.detail.ctx.hx?.redirect;
  if (!leads || !new URL(leads, location).pathname.endsWith("/login")) return;
  if (![...document.querySelectorAll("main input, main select, main textarea")].some(isTyped)) return;
  event.preventDefault();
  toast("You are not signed in any more. Sign in in another tab, then continue here: what you typed stays.");
});

document.addEventListener("htmx:response:error", (event) => {
  const status = event.detail.ctx.response.status;
  if (status >= 500) toast("The server could not answer (" + status + "). Nothing is known to be changed; try again, or see the server's log.");
});

document.addEventListener("htmx:error", () => {
  toast("The server cannot be reached. Check the connection, then reload this page.");
});
