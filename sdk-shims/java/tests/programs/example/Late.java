package example;

/** Is loaded inside a scope that closes the function's files: its class is found all the same. */
public final class Late {}
