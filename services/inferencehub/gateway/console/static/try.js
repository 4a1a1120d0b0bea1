export const tryIt = () => () => {};
