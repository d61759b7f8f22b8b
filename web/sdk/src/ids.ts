/** Crockford's base32 in lower case: no two characters look or sound alike. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/**
 * Returns a random id that cannot be guessed: 26 letters and digits with 130 bits of
 * entropy, from `crypto.getRandomValues`.
 */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(26)), (byte) => ALPHABET[byte & 31]).join("");
}

/** Returns a random password in the same format as {@link randomId}. */
export const randomPassword: () => string = randomId;
