// Numbers as people read them. Everything that arrives is a whole number in W, Wh or micro-units.
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
const clockSeconds = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC",
});

export const time = (ms) => clock.format(ms);
export const timeSeconds = (ms) => clockSeconds.format(ms);
export const kilowatts = (watts) => (watts / 1000).toFixed(2);
export const kilowattHours = (wattHours) => (wattHours / 1000).toFixed(2);
export const price = (micro) => (micro / 1e6).toFixed(3);
export const percent = (perMille) => (perMille / 10).toFixed(0);
export const short = (name) => (name.length > 12 ? `${name.slice(0, 12)}…` : name);
export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
