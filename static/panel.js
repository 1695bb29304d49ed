// What htmx leaves to us: say so when the server or the network fails. Everything works without this file.
"use strict";

const toast = (text) => {
  const box = document.getElementById("toast");
  box.textContent = text;
  box.hidden = false;
};

document.addEventListener("htmx:response:error", (event) => {
  const status = event.detail.ctx.response.status;
  if (status >= 500) toast("The server could not answer (" + status + "). Nothing is known to be changed; try again, or see the server's log.");
});

document.addEventListener("htmx:error", () => {
  toast("The server cannot be reached. Check the connection, then reload this page.");
});
