// Numbers as people read them. Everything that arrives is a whole number in W, Wh or micro-units.
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
const clockSeconds = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC",
});
const KILO_UP_TO_W = 2_000_000;
const SHORT_LENGTH = 16;

export const time = (ms) => clock.format(ms);
export const timeSeconds = (ms) => clockSeconds.format(ms);
export const kilo = (number, digits = 2) => signed(number / 1000, digits);
export const money = (micro, digits = 2) => signed(micro / 1e6, digits);
export const percent = (perMille) => (perMille / 10).toFixed(0);
export const short = (name) => (name.length > SHORT_LENGTH ? `${name.slice(0, SHORT_LENGTH)}…` : name);

// A real minus, as wide as the digits, and never "-0.00".
export function signed(number, digits) {
  const text = Math.abs(number).toFixed(digits);
  return number < 0 && Number(text) !== 0 ? `−${text}` : text;
}

// One unit for a whole panel, by its largest figure.
export function powerUnit(watts) {
  const isKilo = watts.every((value) => Math.abs(value) < KILO_UP_TO_W);
  return isKilo
    ? { name: "kW", of: (value) => signed(value / 1e3, 2) }
    : { name: "MW", of: (value) => signed(value / 1e6, 2) };
}

export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
