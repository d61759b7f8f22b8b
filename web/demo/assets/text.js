/** Text from somebody else, made safe to show and to use as the name of a file. */

/**
 * Characters that are invisible, steer the direction of writing, or control a device:
 * controls, format characters, half surrogates, line and paragraph separators, whatever
 * Unicode lets a font ignore, and the blank Braille pattern.
 */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/u;
/** Format characters that are visible: the signs before Arabic and Syriac numbers. */
const VISIBLE = /[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2]/u;
const JOINER = /[\u200c\u200d]/u;
/** What a joiner can join: parts of an emoji, and letters of scripts that have joiners. */
const JOINED = /[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f]|(?!\p{Script=Latin})[\p{L}\p{M}]/u;
const EMOJI_STYLE = /[\ufe0e\ufe0f]/u;
const HAN_STYLE = /[\u{e0100}-\u{e01ef}]/u;
/** The letters that make the flag of a region out of a black flag, and their number at most. */
const TAG = /[\u{e0030}-\u{e0039}\u{e0061}-\u{e007a}\u{e007f}]/u;
const MOST_TAGS = 6;

/** Bytes that the name of a file can have. File systems allow 255; browsers append up to 20. */
const MOST_NAME = 235;
/** Folders within folders. */
const MOST_DEPTH = 32;
const RESERVED = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)/i;

/**
 * Replaces every character that is invisible or changes how its neighbours look, and
 * bounds how many marks one letter carries. Emoji and all scripts stay as they are.
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
 * plainText for what fits on one line: a name, a title.
 * @param {string} text
 * @param {number} most characters, as a reader counts them
 * @returns {string}
 */
export function plainLine(text, most) {
  const line = plainText(text.slice(0, 10 * most).replace(/\s+/gu, " "), "").replace(/\s+/gu, " ").trim();
  return [...graphemes(line)].slice(0, most).join("");
}

/**
 * Makes a name that every system can save, that is no path, and whose end is its type.
 * @param {string} name
 * @param {{hidden?: boolean, otherwise?: string}} [options] hidden: a leading dot may stay;
 *   otherwise: the name when nothing is left
 * @returns {string}
 */
export function fileName(name, { hidden = false, otherwise = "file" } = {}) {
  const oneLine = plainText(name.replace(/\p{Zs}+/gu, " "), "_").replace(/[/\\:*?"<>|]/g, "_").replace(/ +/g, " ");
  const bare = oneLine.replace(hidden ? /^(?: |\.(?=[. ]|$))+/ : /^[. ]+/, "").replace(/[. ]+$/, "");
  const safe = RESERVED.test(bare) ? `_${bare}` : bare;
  return cut(safe, otherwise) || otherwise;
}

/**
 * Makes a path of folders out of what somebody sent; none of its parts leads upwards.
 * @param {unknown} path
 * @returns {string[] | undefined} undefined if it is no path
 */
export function folderPath(path) {
  if (!Array.isArray(path) || path.length === 0 || path.length > MOST_DEPTH) return undefined;
  if (!path.every((part) => typeof part === "string" && part.length <= 1000)) return undefined;
  return path.map((part) => fileName(part, { hidden: true, otherwise: "folder" }));
}

/**
 * The stem and the type of a file, each to be shown in its own direction.
 * @param {string} name
 * @returns {[string, string]}
 */
export function stemAndType(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 && name.length - dot <= 17 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
}

/**
 * Whether a hidden character is part of what is seen: within an emoji, a word of a
 * script that needs it, a flag, a variant of a Chinese character.
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
  while (flag > i - MOST_TAGS && TAG.test(points[flag] ?? "")) flag--;
  return points[flag] === "\u{1f3f4}";
}

/**
 * Cuts the stem of a name so that all of it fits, never within a character.
 * @param {string} name
 * @param {string} otherwise the stem, when its first character does not fit
 */
function cut(name, otherwise) {
  const bytes = (/** @type {string} */ text) => new TextEncoder().encode(text).length;
  if (bytes(name) <= MOST_NAME) return name;
  const [stem, type] = stemAndType(name);
  let left = MOST_NAME - bytes(type);
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
