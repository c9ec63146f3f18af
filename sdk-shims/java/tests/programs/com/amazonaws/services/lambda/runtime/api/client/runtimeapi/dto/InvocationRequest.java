package com.amazonaws.services.lambda.runtime.api.client.runtimeapi.dto;

/** Stands in for the runtime client's class, as far as the hook knows it. */
public final class InvocationRequest {
  private byte[] content;

  public byte[] getContent() {
    return content;
  }

  public void setContent(byte[] content) {
    this.content = content;
  }
}
