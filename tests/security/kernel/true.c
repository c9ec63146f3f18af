/* Does nothing: the one program that the policy allows, where there is no other. */
int main(void) { return 0; }
