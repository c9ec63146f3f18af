// The AWS SDK v3 for S3, and sharp with its threads and its own native code.

import { createHash } from "node:crypto";

import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import sharp from "sharp";

const s3 = new S3Client({});

async function letter() {
  const answer = await s3.send(new GetObjectCommand({ Bucket: "documents", Key: "letter.txt" }));
  return answer.Body.transformToString();
}

async function thumbnail(format) {
  const picture = sharp({ create: { width: 800, height: 600, channels: 3, background: "#a03020" } });
  const made = await picture.resize(120).toFormat(format).toBuffer();
  return createHash("sha256").update(made).digest("hex");
}

export async function handler() {
  return {
    letters: await Promise.all(Array.from({ length: 16 }, letter)),
    pictures: await Promise.all(["png", "jpeg", "webp"].map(thumbnail)),
  };
}
