/** Makes text from others safe to show, and to use as a file name. */

/**
 * Characters that are invisible, change the writing direction, or control a device:
 * controls, format characters, lone surrogates, line and paragraph separators, characters
 * that fonts may ignore, and the blank Braille pattern.
 */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/u;
/** Visible format characters: the signs before Arabic and Syriac numbers. */
const VISIBLE = /[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2]/u;
const JOINER = /[\u200c\u200d]/u;
/** Characters that a joiner can join: parts of emoji, and letters of scripts with joiners. */
const JOINED = /[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f]|(?!\p{Script=Latin})[\p{L}\p{M}]/u;
const EMOJI_STYLE = /[\ufe0e\ufe0f]/u;
const HAN_STYLE = /[\u{e0100}-\u{e01ef}]/u;
/** Characters that turn a black flag into the flag of a region, and their maximum number. */
const TAG = /[\u{e0030}-\u{e0039}\u{e0061}-\u{e007a}\u{e007f}]/u;
const MAX_TAGS = 6;

/** Maximum length of a file name, in bytes. File systems allow 255, and browsers append up to 20. */
const MAX_NAME = 235;
/** Maximum depth of nested folders. */
const MAX_DEPTH = 32;
const RESERVED = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)/i;

/**
 * Replaces characters that are invisible or change how their neighbours look, and limits
 * the combining marks of a letter. Emoji and all scripts stay intact.
 * @param {string} text
 * @param {string} [instead]
 * @returns {string}
 */
export function plainText(text, instead = "\ufffd") {
  const points = Array.from(text.normalize("NFC"));
  const shown = points.map((point, i) => (HIDDEN.test(point) && !belongs(points, i) ? instead : point));
  return shown.join("").replace(/(\p{M}{4})\p{M}+/gu, "$1");
}

/**
 * Applies plainText and joins the lines, for a name or a title.
 * @param {string} text
 * @param {number} most maximum number of characters, as a reader counts them
 * @returns {string}
 */
export function plainLine(text, most) {
  const line = plainText(text.slice(0, 10 * most).replace(/\s+/gu, " "), "").replace(/\s+/gu, " ").trim();
  return [...graphemes(line)].slice(0, most).join("");
}

/**
 * Returns a file name that every system accepts. It contains no path and keeps its type.
 * @param {string} name
 * @param {{hidden?: boolean, otherwise?: string}} [options] hidden: keep a leading dot;
 *   otherwise: the name if nothing else is left
 * @returns {string}
 */
export function fileName(name, { hidden = false, otherwise = "file" } = {}) {
  const oneLine = plainText(name.replace(/\p{Zs}+/gu, " "), "_").replace(/[/\\:*?"<>|]/g, "_").replace(/ +/g, " ");
  const bare = oneLine.replace(hidden ? /^(?: |\.(?=[. ]|$))+/ : /^[. ]+/, "").replace(/[. ]+$/, "");
  const safe = RESERVED.test(bare) ? `_${bare}` : bare;
  return cut(safe, otherwise) || otherwise;
}

/**
 * Returns a safe path of folders; no part of it leads upwards.
 * @param {unknown} path from the other side
 * @returns {string[] | undefined} undefined if the path is invalid
 */
export function folderPath(path) {
  if (!Array.isArray(path) || path.length === 0 || path.length > MAX_DEPTH) return undefined;
  if (!path.every((part) => typeof part === "string" && part.length <= 1000)) return undefined;
  return path.map((part) => fileName(part, { hidden: true, otherwise: "folder" }));
}

/**
 * Splits a file name into stem and type, so that each can have its own writing direction.
 * @param {string} name
 * @returns {[string, string]}
 */
export function stemAndType(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 && name.length - dot <= 17 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
}

/**
 * Reports whether a hidden character affects a visible one: within an emoji, a word of a
 * script that needs joiners, a flag, or a variant of a Chinese character.
 * @param {string[]} points
 * @param {number} i
 */
function belongs(points, i) {
  const [before, point, after] = [points[i - 1] ?? "", points[i], points[i + 1] ?? ""];
  if (VISIBLE.test(point)) return true;
  if (JOINER.test(point)) return JOINED.test(before) && JOINED.test(after);
  if (EMOJI_STYLE.test(point)) return /\p{Emoji}/u.test(before);
  if (HAN_STYLE.test(point)) return /\p{Script=Han}/u.test(before);
  if (!TAG.test(point)) return false;
  let flag = i;
  while (flag > i - MAX_TAGS && TAG.test(points[flag] ?? "")) flag--;
  return points[flag] === "\u{1f3f4}";
}

/**
 * Shortens the stem of a name so that the name fits, never within a character.
 * @param {string} name
 * @param {string} otherwise the stem if not even its first character fits
 */
function cut(name, otherwise) {
  const bytes = (/** @type {string} */ text) => new TextEncoder().encode(text).length;
  if (bytes(name) <= MAX_NAME) return name;
  const [stem, type] = stemAndType(name);
  let left = MAX_NAME - bytes(type);
  let kept = "";
  for (const one of graphemes(stem)) {
    left -= bytes(one);
    if (left < 0) break;
    kept += one;
  }
  return (kept.replace(/[. ]+$/, "") || otherwise) + type;
}

/** @param {string} text @returns {Iterable<string>} characters, as a reader counts them */
function* graphemes(text) {
  if (typeof Intl.Segmenter === "undefined") yield* text;
  else for (const { segment } of new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text)) yield segment;
}
