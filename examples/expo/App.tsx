import { ApiError } from "@fal-ai/client";
import { launchImageLibraryAsync } from "expo-image-picker";
import { useMemo, useState } from "react";
import { Button, Image, Text, View } from "react-native";
import { createGatewayClient } from "./fal";
import { uploadPicture } from "./upload";

const MODEL = "fal-ai/hyper-sdxl/image-to-image";
const BACKEND = "https://app.example.com"; // the example express-backend

export default function App({ appSession }: { appSession: string }) {
  const [state, setState] = useState("");
  const [picture, setPicture] = useState<string>();

  async function getToken(): Promise<string> {
    const headers = { authorization: `Bearer ${appSession}` };
    const answer = await fetch(`${BACKEND}/fal-token`, { method: "POST", headers });
    return (await answer.json()).token;
  }
  const fal = useMemo(() => createGatewayClient(getToken), [appSession]);

  async function paint() {
    const picked = await launchImageLibraryAsync({ mediaTypes: ["images"] });
    const asset = picked.assets?.[0];
    if (!asset) return;
    try {
      const url = await uploadPicture(asset.uri, asset.mimeType ?? "image/jpeg", await getToken());
      const { data } = await fal.subscribe(MODEL, {
        input: { image_url: url, prompt: "a lighthouse" },
        onQueueUpdate: (status) => setState(status.status),
      });
      setPicture(data.images[0].url);
    } catch (error) {
      // The gateway's `message` is for people; `error_type` of the body is for the app.
      setState(error instanceof ApiError ? error.body.message : "no connection");
    }
  }

  return (
    <View>
      <Button title="Pick a picture" onPress={paint} />
      <Text>{state}</Text>
      {picture && <Image source={{ uri: picture }} style={{ width: 300, height: 300 }} />}
    </View>
  );
}
