"use strict";
(() => {
  const review = document.body.dataset.review;
  const pairs = [...document.querySelectorAll(".pair")];
  const rater = document.getElementById("rater");
  const message = document.getElementById("message");
  const place = `tunesmith-review-${review}`;
  const keys = {
    1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 0: "tie",
  };
  const words = { left: "answer 1", right: "answer 2", tie: "tie" };
  const votes = new Map();
  let at = 0;

  function load() {
    try {
      const kept = JSON.parse(localStorage.getItem(place) || "{}");
      rater.value = kept.rater || "";
      for (const [pair, choice] of kept.votes || []) {
        if (choice in words) votes.set(pair, choice);
      }
    } catch {
      say("This browser keeps nothing for this page: save your votes before you close it.");
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify({ rater: rater.value, votes: [...votes] }));
    } catch {
      say("This browser keeps nothing for this page: save your votes before you close it.");
    }
  }

  function say(text) {
    message.textContent = text;
  }

  function show(number) {
    at = Math.max(0, Math.min(pairs.length - 1, number));
    pairs.forEach((pair, i) => { pair.hidden = i !== at; });
    const choice = votes.get(pairs[at].dataset.pair);
    pairs[at].querySelector(".voted").textContent = choice ? `(your vote: ${words[choice]})` : "";
    for (const button of document.querySelectorAll("[data-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.choice === choice));
    }
    const done = pairs.filter((pair) => votes.has(pair.dataset.pair)).length;
    document.getElementById("done").value = done;
    document.getElementById("count").textContent = `${done} of ${pairs.length} voted`;
    scrollTo(0, 0);
  }

  function vote(choice) {
    votes.set(pairs[at].dataset.pair, choice);
    say("");
    keep();
    const open = (pair) => !votes.has(pair.dataset.pair);
    const later = pairs.findIndex((pair, i) => i > at && open(pair));
    const next = later >= 0 ? later : pairs.findIndex(open);
    if (next < 0) say("All pairs are voted on: save your votes to a file.");
    show(next < 0 ? at : next);
  }

  function save() {
    const name = rater.value.trim();
    if (!name) {
      say("Enter your name first: it tells your votes from those of others.");
      rater.focus();
      return;
    }
    const found = pairs
      .filter((pair) => votes.has(pair.dataset.pair))
      .map((pair) => ({ pair: pair.dataset.pair, choice: votes.get(pair.dataset.pair) }));
    if (!found.length) {
      say("There are no votes yet.");
      return;
    }
    const text = JSON.stringify({ review, rater: name, votes: found }, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `votes-${review}-${name.replace(/[^\p{L}\p{N}]+/gu, "-")}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
    say(`Saved ${found.length} of ${pairs.length} votes as ${link.download}.`);
  }

  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => vote(button.dataset.choice));
  }
  document.getElementById("back").addEventListener("click", () => show(at - 1));
  document.getElementById("next").addEventListener("click", () => show(at + 1));
  document.getElementById("save").addEventListener("click", save);
  rater.addEventListener("input", keep);
  document.addEventListener("keydown", (event) => {
    if (event.target === rater || event.ctrlKey || event.metaKey || event.altKey || event.repeat) {
      return;
    }
    const key = event.key.toLowerCase();
    if (event.key in keys) vote(keys[event.key]);
    else if (key === "b") show(at - 1);
    else if (key === "n") show(at + 1);
    else return;
    event.preventDefault();
  });
  load();
  const first = pairs.findIndex((pair) => !votes.has(pair.dataset.pair));
  show(first < 0 ? 0 : first);
})();
