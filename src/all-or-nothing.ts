// SPDX-License-Identifier: MIT

/** Does something, and remembers how to undo it. */
export type Step = (action: () => void, undo: () => void) => void;

/**
 * Runs `body`. If it throws, the steps done before are undone, last first, and
 * the error goes on. What cannot be undone (memory is short, say) stays undone:
 * each undo must leave less than there was, never something wrong.
 */
export function allOrNothing(body: (step: Step) => void): void {
  const undos: (() => void)[] = [];
  try {
    body((action, undo) => {
      action();
      undos.push(undo);
    });
  } catch (error) {
    for (const undo of undos.reverse()) attempt(undo);
    throw error;
  }
}

function attempt(undo: () => void): void {
  try {
    undo();
  } catch {
    // The first error says what is wrong.
  }
}
