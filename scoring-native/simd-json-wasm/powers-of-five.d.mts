/** The text of assembly/powers-of-five.ts. */
export declare function powersOfFive(): string;
