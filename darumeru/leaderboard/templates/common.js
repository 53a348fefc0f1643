"use strict";
// Texts from data reach the page through textContent and attributes only, never as markup.
const byId = (name) => document.getElementById(name);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const words = JSON.parse(byId("words").textContent);

const memory = {
  // Private windows and some browsers on file:// refuse storage; the page then forgets.
  get(name) { try { return localStorage.getItem("darumeru." + name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem("darumeru." + name, value); } catch { /* forgets */ } },
};

let language = memory.get("language") ?? (navigator.language.toLowerCase().startsWith("ru") ? "ru" : "en");
const languageListeners = [];

function say(key, values = {}) {
  return words[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

function make(tag, options = {}, ...children) {
  const { text, classes, data, ...properties } = options;
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (classes) node.className = classes;
  for (const [name, value] of Object.entries(data ?? {})) node.dataset[name] = value;
  for (const [name, value] of Object.entries(properties)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function setLanguage(chosen) {
  language = chosen === "ru" ? "ru" : "en";
  document.documentElement.lang = language;
  for (const node of all("[data-t]")) node.textContent = words[language][node.dataset.t];
  for (const node of all("[data-ru]")) node.textContent = node.dataset[language];
  for (const attribute of ["placeholder", "aria-label", "title"]) {
    for (const node of all(`[data-t-${attribute}]`)) {
      node.setAttribute(attribute, words[language][node.getAttribute(`data-t-${attribute}`)]);
    }
  }
  for (const listener of languageListeners) listener();
}

function setTheme(theme) {
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
}

const isDark = () => (document.documentElement.dataset.theme ??
  (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

setTheme(memory.get("theme"));
byId("theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  setTheme(theme);
  memory.set("theme", theme);
});
byId("language").addEventListener("click", () => {
  setLanguage(language === "ru" ? "en" : "ru");
  memory.set("language", language);
});

const fold = (text) => text.toLocaleLowerCase();
const split = (text) => fold(text).split(/\s+/).filter(Boolean);
