// The aggregator's messages applied to what the page knows: everything at first, then differences.
// A message that names its columns replaces all that was known.
export const newState = () => ({ columns: null, values: {}, tables: {}, changedMs: {}, nowMs: 0 });

export function apply(state, message) {
  if (message.columns) {
    state.columns = message.columns;
    state.tables = Object.fromEntries(Object.keys(message.columns).map((name) => [name, new Map()]));
    state.values = {};
  }
  state.nowMs = message.now_ms;
  Object.assign(state.values, message.values);
  for (const [name, delta] of Object.entries(message.tables)) {
    const table = state.tables[name];
    for (const key of delta.gone ?? []) table.delete(key);
    for (const row of delta.rows ?? []) table.set(row[0], named(state.columns[name], row));
    state.changedMs[name] = delta.at_ms;
  }
}

export const named = (columns, row) => Object.fromEntries(columns.map((name, at) => [name, row[at]]));
export const rowsOf = (state, name) => [...state.tables[name].values()];
