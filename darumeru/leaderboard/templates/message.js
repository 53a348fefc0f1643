setLanguage(language);
