"use strict";
// The page is complete without this. With it: press a word (or a mark of the map) to see its nearest contexts.
for (const section of document.querySelectorAll("section.word")) {
  const nearest = JSON.parse(section.querySelector("script").textContent);
  const items = new Map([...section.querySelectorAll("li[data-context]")].map((li) => [Number(li.dataset.context), li]));
  const marks = new Map([...section.querySelectorAll(".mark")].map((mark) => [Number(mark.dataset.context), mark]));

  const point = (number) => {
    const near = new Set(nearest[number].map(([place]) => place));
    for (const [other, mark] of marks) {
      mark.classList.toggle("on", other === number);
      mark.classList.toggle("near", near.has(other));
    }
    for (const above of [...near, number]) marks.get(above)?.parentNode.append(marks.get(above));
  };
  const list = (number) => {
    const found = document.createElement("ol");
    found.className = "nearest";
    for (const [place, cosine] of nearest[number]) {
      const row = document.createElement("li");
      const value = document.createElement("span");
      value.className = "cosine";
      value.textContent = cosine.toFixed(2);
      const text = document.createElement("span");
      const shown = items.get(place).querySelector(".context");
      text.dir = "auto";
      text.lang = shown.lang;
      for (const part of shown.children) {
        const piece = document.createElement(part.classList.contains("it") ? "b" : "span");
        piece.textContent = part.textContent;
        text.append(piece);
      }
      text.className = "context";
      row.append(value, text);
      found.append(row);
    }
    return found;
  };
  const press = (number, open) => {
    const li = items.get(number), button = li.querySelector("button"), old = li.querySelector("ol.nearest");
    const show = open || !old;
    if (old && !show) old.remove();
    if (!old && show) li.append(list(number));
    button.setAttribute("aria-expanded", String(show));
    point(number);
  };
  for (const [number, li] of items) {
    const word = li.querySelector(".it"), button = document.createElement("button");
    button.type = "button";
    button.className = "it";
    button.textContent = word.textContent;
    button.title = "nearest contexts";
    button.setAttribute("aria-expanded", String(li.querySelector("ol.nearest") !== null));
    word.replaceWith(button);
    button.addEventListener("click", () => press(number, false));
    button.addEventListener("focus", () => point(number));
    li.addEventListener("mouseenter", () => point(number));
  }
  for (const [number, mark] of marks) {
    mark.addEventListener("click", () => {
      const li = items.get(number), more = li.closest("details");
      if (more) more.open = true;
      press(number, true);
      li.querySelector("button").focus();
      li.scrollIntoView({ block: "center" });
    });
  }
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
