"use strict";
const form = document.getElementById("filters");
const search = form.querySelector("input[type=search]");
const boxes = [...form.querySelectorAll("input[type=checkbox]")];
const answers = ["refused", "granted", "asked", "revoked"];
const rows = [...document.querySelectorAll("tr[data-is]")].map((at) => ({
    at, is: at.dataset.is.split(" "), text: at.dataset.text.toLowerCase(),
}));
const leaves = [...document.querySelectorAll(".tree li")].reverse().map((at) => ({
    at, is: (at.dataset.is || "").split(" "), text: (at.dataset.text || "").toLowerCase(),
}));

function filter() {
    const on = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const wanted = search.value.trim().toLowerCase();
    const passes = (one) => one.text.includes(wanted)
        && one.is.some((word) => answers.includes(word) && on.has(word))
        && one.is.some((word) => !answers.includes(word) && on.has(word));
    let shown = 0;
    for (const row of rows) {
        row.at.hidden = !passes(row);
        shown += row.at.hidden ? 0 : 1;
    }
    // The innermost come first, so what lies below is known.
    for (const leaf of leaves) {
        leaf.at.hidden = !passes(leaf) && !leaf.at.querySelector("li:not([hidden])");
    }
    form.querySelector("output").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} rows`;
}

form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
filter();
