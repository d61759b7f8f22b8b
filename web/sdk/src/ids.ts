/** Crockford's base32 in lower case: nothing in it is mistaken for something else when read aloud. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/** A random id that nobody can guess: 26 letters and digits, 130 bits. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(26)), (byte) => ALPHABET[byte & 31]).join("");
}

/** A random password, made like an id. */
export const randomPassword: () => string = randomId;
