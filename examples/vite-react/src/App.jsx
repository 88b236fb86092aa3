import { useState } from "react";
import { SignIn } from "./SignIn.jsx";
import { Studio } from "./Studio.jsx";
import { signOut } from "./session.js";

export function App() {
  const [name, setName] = useState(null);
  const [notice, setNotice] = useState(null);

  function leave(notice) {
    signOut();
    setName(null);
    setNotice(notice);
  }

  if (name === null) return <SignIn notice={notice} onSignIn={setName} />;
  return (
    <Studio
      name={name}
      onSignOut={() => leave(null)}
      onSessionEnd={() => leave("Your session has ended. Please sign in again.")}
    />
  );
}
