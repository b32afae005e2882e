/** What is off unless `features` in merit.yaml (or MERIT_FEATURES) names it. */
export const FEATURES = ['suite-rollouts'] as const;
export type Feature = (typeof FEATURES)[number];
