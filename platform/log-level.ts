/** What may be asked for; `trace` is not among them, since it would write what requests hold. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
