import { File } from "expo-file-system";
import { fetch } from "expo/fetch";
import { GATEWAY } from "./fal";

/**
 * Uploads a picked picture, and returns the address for an input.
 *
 * `(await fetch(uri)).blob()` and a `Blob` in the input fail in Expo 56: its fetch makes blobs of an ArrayBuffer, which
 * React Native's Blob refuses. A `File` of expo-file-system is sent from the disk.
 */
export async function uploadPicture(uri: string, type: string, token: string): Promise<string> {
  const announced = await fetch(`${GATEWAY}/storage/upload/initiate`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ content_type: type, file_name: uri.split("/").at(-1) }),
  });
  const answer = await announced.json();
  if (!announced.ok) throw new Error(answer.message);
  // To the file host, and without the token.
  const sent = await fetch(answer.upload_url, { method: "PUT", headers: { "content-type": type }, body: new File(uri) });
  if (!sent.ok) throw new Error(`the upload failed: ${sent.status}`);
  return answer.file_url;
}
