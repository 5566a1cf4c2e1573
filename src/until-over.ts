// SPDX-License-Identifier: MIT

/**
 * Returns what `body` returns, and calls `end` when it is over: when it
 * returned or threw, or when the promise that it returned is settled. What
 * `end` throws takes the place of the result; it is given what `body` threw.
 */
export function untilOver<T>(body: () => T, end: (cause?: unknown) => void): T {
  let result: T;
  try {
    result = body();
  } catch (error) {
    end(error);
    throw error;
  }
  if (isPromiseLike(result)) return untilSettled(result, end) as T;
  end();
  return result;
}

async function untilSettled<T>(result: PromiseLike<T>, end: (cause?: unknown) => void): Promise<T> {
  let value: T;
  try {
    value = await result;
  } catch (error) {
    end(error);
    throw error;
  }
  end();
  return value;
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
  );
}
